"""What serves, watched through real S3 and a real MLflow server by the command that a schedule runs."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from components.artifacts.images import to_tensor
from components.artifacts.shards import ShardReader, encode_png
from components.backbones.tiny_flow import TinyFlow
from components.generate.sampling import sample_candidates
from components.metrics.suite import Suite
from components.promote import promotion
from components.storage.s3 import Client
from tests.made import REPOSITORY
from tests.promote.gated import ADA, CPU, SIDE, STEPS, WEIGHTS, Project, make_project
from tests.services.s3 import bucket, s3_environment  # noqa: F401
from tests.services.servers import Mlflow

Picture = NDArray[np.uint8]
pytestmark = pytest.mark.usefixtures("s3_environment")


@pytest.fixture(scope="module")
def restored(mlflow_server: Mlflow) -> Iterator[None]:
    """The server's address and rights, here and in child processes."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in mlflow_server.environment().items():
            patch.setenv(name, value)
        mlflow.set_tracking_uri(mlflow_server.url)
        yield


def pictures(project: Project, model: TinyFlow) -> dict[str, tuple[Picture, Picture]]:
    """LR image and restoration by lr_id."""
    found = {}
    shard = ShardReader(project.root / "data/dataset/00000.tar")
    for member in shard:
        if member.endswith(".lr.png"):
            lr, name = shard.image(member), member.removesuffix(".lr.png")
            (candidate,) = sample_candidates(model, to_tensor(lr), "", name, range(1), 1, "none", "policy")
            found[name] = (lr, candidate.image)
    return found


@pytest.fixture(scope="module")
def champion(restored: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, dict[str, Any]]:
    """A project whose champion is the embedded model, by the gate, with its evaluation; and what it restores."""
    blocks = {
        "prepare": {"crop": SIDE, "min_side": SIDE, "crops_per_photo": 1},
        "score": {"held_out": ["psnr", "vif", "rank_nss"]},
        "gate": {"margins": {"vif": 0.03, "rank_nss": 100.0}},  # twelve pictures of 64 px say little by it
        "monitor": {"min_pairs": 8},
        "register": {"experiment": "watched", "model_name": "watched-dev"},
    }
    project = make_project(tmp_path_factory.mktemp("project"), **blocks)
    model = TinyFlow.load(WEIGHTS, STEPS, CPU)
    found = pictures(project, model)
    suite = Suite.load(["rank_nss"], CPU)
    values = {name: suite.score(to_tensor(sr), None, None).values["rank_nss"][0] for name, (_, sr) in found.items()}
    rows = [{"lr_id": name, "model": "aligned", "rank_nss": float(value)} for name, value in values.items()]
    pq.write_table(pa.Table.from_pylist(rows), project.root / "reports/evaluation.parquet")
    project.register(model)
    outcome = promotion.promote(project.settings, project.root, approval=ADA)
    assert outcome.decision == "promoted", outcome.text
    return project, found


def put(client: Client, name: str, found: dict[str, Any], change: Callable[[Picture], Picture] = lambda sr: sr) -> None:
    for key, (lr, sr) in found.items():
        for ending, picture in ((".lr.png", lr), (".sr.png", change(sr))):
            client.put_object(Bucket=name, Key=f"served/2026/{key}{ending}", Body=encode_png(picture))


def watch(project: Project, name: str) -> tuple[int, dict[str, Any]]:
    command = [Path(sys.executable).with_name("dp2o"), "monitor", f"s3://{name}/served/", "--json"]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=project.root, capture_output=True, text=True, check=False, env=environment, timeout=600
    )
    assert done.returncode in {0, 3}, done.stderr
    return done.returncode, json.loads(done.stdout)


def runs() -> list[Any]:
    """Of the monitor's experiment, the newest first."""
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("watched-monitor")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id], order_by=["start_time DESC"]))


def test_healthy_then_spoilt_then_incomplete(
    champion: tuple[Project, dict[str, Any]],
    bucket: tuple[Client, str],  # noqa: F811
) -> None:
    project, found = champion
    client, name = bucket
    put(client, name, found)
    code, told = watch(project, name)
    assert (code, told["healthy"], told["champion"]) == (0, True, "watched/1"), told["text"]
    assert "rank_nss" in {row["name"] for row in told["rows"]}
    (run,) = runs()
    assert (run.data.metrics["healthy"], run.data.tags["dp2o.champion"]) == (1.0, "watched/1")
    files = {file.path for file in mlflow.MlflowClient().list_artifacts(run.info.run_id)}
    assert files == {"monitor.json", "monitor.html"}
    page = (project.root / "reports/monitor.html").read_text()
    assert "Healthy" in page
    assert "http" not in page.replace("http://www.w3.org/", "")  # self-contained

    warm = np.array([12, 0, -12])
    put(client, name, found, lambda sr: np.clip(sr.astype(int) + warm, 0, 255).astype(np.uint8))
    code, told = watch(project, name)
    assert code == 3
    assert "guard colour_shift" in {row["name"] for row in told["rows"] if row["verdict"] == "no"}
    assert runs()[0].data.metrics["healthy"] == 0.0

    put(client, name, found)
    for key in list(found)[:2]:
        client.delete_object(Bucket=name, Key=f"served/2026/{key}.sr.png")
    code, told = watch(project, name)
    assert (code, [row["name"] for row in told["rows"] if row["verdict"] == "no"]) == (3, ["usable"])
    assert ".sr.png" in told["text"]


def test_nothing_to_watch_is_not_healthy(
    champion: tuple[Project, dict[str, Any]],
    bucket: tuple[Client, str],  # noqa: F811
) -> None:
    code, told = watch(champion[0], bucket[1])
    assert code == 3
    assert {row["name"] for row in told["rows"] if row["verdict"] == "no"} >= {"pairs", "usable", "rank_nss"}
