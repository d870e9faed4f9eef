"""The retrain flow on real S3, git, DVC's layout, Prefect, and MLflow on PostgreSQL, in processes that are killed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.intake import journal
from components.storage.s3 import Client
from flows.lease import read_lease
from tests.flows.made import make_project, run
from tests.made import REPOSITORY
from tests.services.remote import Remote, push, spoilt_base, trainable
from tests.services.retrain_child import model
from tests.services.s3 import bucket, picture, s3_environment  # noqa: F401
from tests.services.servers import Mlflow, Prefect

pytestmark = pytest.mark.usefixtures("s3_environment")


@pytest.fixture
def remote(
    bucket: tuple[Client, str],  # noqa: F811
    tmp_path: Path,
    prefect_server: Prefect,
    mlflow_server: Mlflow,
) -> Iterator[Remote]:
    client, name = bucket
    root = make_project(tmp_path / "project").root
    made = Remote(client, name, tmp_path / "remote.git", prefect_server, mlflow_server)
    values = yaml.safe_load((root / "params.yaml").read_text())
    values["intake"] |= {"source": f"s3://{name}/in/", "quarantine": f"s3://{name}/aside/", "settle_seconds": 0}
    values["register"] |= {"experiment": made.model, "model_name": f"{made.model}-dev"}
    values["drift"] |= {"min_images": 3, "retrain_images": 4, "psi": 1000.0}
    (root / "params.yaml").write_text(yaml.safe_dump(values))
    run(root, "dvc", "remote", "add", "-d", "s3", made.store)
    run(root, "git", "add", "-A")
    run(root, "git", "commit", "-qm", "settings")
    run(tmp_path, "git", "clone", "-q", "--bare", str(root), str(made.path))
    yield made
    for process in made.started:
        if process.poll() is None:
            process.kill()
            process.wait()


def test_nothing_new_ends_and_says_so_and_few_pictures_wait(remote: Remote, tmp_path: Path) -> None:
    first = remote.retrain()
    assert (first["ending"], "nothing new" in first["text"]) == ("nothing new", True)
    commits = remote.subjects()
    assert remote.retrain(scope={"dry_run": True})["ending"] == "dry run"
    remote.put(1, 2)
    remote.client.put_object(Bucket=remote.bucket, Key="in/bad.png", Body=b"bad")
    dry = remote.retrain(scope={"dry_run": True})
    assert (len(dry["intake"]["accepted"]), dry["intake"]["quarantined"]) == (2, {"unreadable": 1})
    assert remote.subjects() == commits
    # there is no training set to compare with in this project, which would be a reason: a person says no
    second = remote.retrain(scope={"train": "never"})
    assert (second["ending"], second["drift"]["decision"]["new"]) == ("waits", 2)
    root = remote.clone(tmp_path / "clone")
    assert run(root, "git", "rev-parse", "HEAD").strip() == second["commit"]
    run(root, "dvc", "pull", "-q", "data/incoming", "data/incoming.parquet")
    assert run(root, "dvc", "status", "data/incoming.dvc", "data/incoming.parquet.dvc").strip().endswith("up to date.")
    remote.put(3)
    third = remote.retrain(scope={"train": "never"})
    assert third["drift"]["decision"]["new"] == 3
    root = remote.clone(tmp_path / "clone")
    run(root, "dvc", "pull", "-q", "data/incoming")  # n + new: the old shard is still in the listing
    assert len(list((root / "data/incoming").glob("*.tar"))) == 2
    assert "data/incoming" in yaml.safe_load((root / "dvc.yaml").read_text())["stages"]["prepare"]["deps"]
    assert remote.retrain(scope={"train": "never"})["commit"] is None


def test_of_two_at_once_one_works_and_the_other_says_who(remote: Remote) -> None:
    first = remote.start(slow="lease taken")
    assert first.stdout is not None
    while not (line := first.stdout.readline()).startswith("reached"):
        assert line or first.poll() is None
    other = remote.retrain()
    assert other["ending"] == "held by another"
    assert "until 20" in other["text"]
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    deadline = time.monotonic() + 60
    while read_lease(remote.client, remote.lease)[1]:
        assert time.monotonic() < deadline
        time.sleep(1)
    assert remote.retrain()["ending"] == "nothing new"


@pytest.mark.parametrize("point", ["lease taken", "looked", "version committed", "compared", "base committed"])
def test_killed_before_training_the_next_run_ends_as_if_nothing_had_happened(
    remote: Remote, tmp_path: Path, point: str
) -> None:
    remote.put(1, 2)
    remote.client.put_object(Bucket=remote.bucket, Key="in/bad.png", Body=b"bad")
    train = "always" if point == "base committed" else "never"  # a person's word: two pictures are too few
    remote.killed(point, scope={"train": train}, lease={"seconds": 6})
    time.sleep(7)
    outcome = remote.retrain(scope={"train": "never"})
    assert (outcome["ending"], outcome["drift"]["decision"]["new"]) == ("waits", 2)
    assert [subject for subject in remote.subjects() if subject.startswith("intake")] == ["intake: 2 new LR images"]
    root = remote.clone(tmp_path / "clone")
    run(root, "dvc", "pull", "-q", "data/incoming", "data/incoming.parquet")
    assert len(list((root / "data/incoming").glob("*.tar"))) == 1
    listing = remote.client.list_objects_v2(Bucket=remote.bucket, Prefix="aside/")["Contents"]
    aside = [entry["Key"] for entry in listing if not entry["Key"].endswith(journal.NAME)]
    assert len(aside) == 2  # one object, one reason


@pytest.mark.slow
def test_enough_new_pictures_train_from_the_champion_and_a_killed_run_is_finished(
    remote: Remote, tmp_path: Path
) -> None:
    root = remote.clone(tmp_path / "work")
    trainable(root)
    push(root, "trainable")
    remote.put(1, 2, 3, 4)
    first = remote.retrain()  # before the real gate, which one step of training cannot satisfy
    assert first["ending"] == "not promoted", first
    assert "4 new pictures" in first["text"]
    judged = remote.clone(tmp_path / "judged")
    gate = json.loads((judged / "reports/gate.json").read_text())
    refused = [check["name"] for check in gate["checks"] if check["verdict"] == "no"]
    assert refused
    assert f"is refused: {', '.join(refused)}" in first["promotion"]
    run(judged, "dvc", "pull", "-q", "data/benchmark")  # the set that was frozen is kept with the project
    assert (judged / "data/benchmark" / gate["benchmark"] / "manifest.json").is_file()
    make_champion(remote, remote.clone(tmp_path / "work"))
    remote.put(5, 6, 7, 8)
    remote.killed("base committed", passes=True, lease={"seconds": 6})
    time.sleep(7)
    second = remote.retrain(passes=True)
    assert second["ending"] == "promoted", second
    root = remote.clone(tmp_path / "work")
    values = yaml.safe_load((root / "params.yaml").read_text())
    assert values["backbone"]["path"] == "models/champion"
    trained = json.loads((root / "data/retrain.json").read_text())
    assert (len(trained["shards"]), trained["attempt"]) == (2, None)
    subjects = remote.subjects()
    assert sum(subject.startswith("retrain: from ") for subject in subjects) == 2
    assert sum(subject.startswith("align: ") for subject in subjects) == 2
    assert remote.retrain()["ending"] == "nothing new"


@pytest.mark.slow
def test_the_gate_promotes_what_gained_through_any_crash_and_refuses_what_was_spoilt(
    remote: Remote, tmp_path: Path
) -> None:
    root = remote.clone(tmp_path / "work")
    spoilt_base(root)
    push(root, "a base with much to gain")
    remote.put(1, 2, 3, 4)
    for point in ("aligned", "promoted"):
        remote.killed(point, candidate="fair", lease={"seconds": 6})
        time.sleep(7)
    kept = sets(remote.clone(tmp_path / "kept"))  # on the branch before anything was promoted on it
    assert len(kept) == 1
    first = remote.retrain(candidate="fair")
    assert first["ending"] == "promoted", first
    assert counting(remote) == [("promote", None, 1)]
    judged = Judged.of(remote, tmp_path / "judged")
    assert judged.champion == "base model"
    assert judged.benchmarks == (kept[0], *kept)

    remote.put(5, 6, 7, 8)
    remote.killed("finished", candidate="honest", lease={"seconds": 6})  # all is done but saying so
    time.sleep(7)
    assert remote.retrain()["ending"] == "nothing new"
    assert counting(remote) == [("promote", None, 1), ("promote", 1, 2)]
    again = Judged.of(remote, tmp_path / "judged")
    assert (again.champion, again.base) == (f"{remote.model}/1", model("fair").digest("policy"))
    assert again.benchmarks == judged.benchmarks  # one set, frozen before the first champion: figures compare
    root = remote.clone(tmp_path / "work")
    assert yaml.safe_load((root / "params.yaml").read_text())["backbone"]["path"] == "models/champion"

    remote.put(9, 10, 11, 12)
    third = remote.retrain(candidate="coloured")
    assert third["ending"] == "not promoted", third
    assert "guard colour_shift rise" in third["promotion"]
    after = history(remote)
    assert (after["champion"], after["alias"], after["records"][-1]["content"]["kind"]) == (2, 2, "refuse")
    last = Judged.of(remote, tmp_path / "judged")
    assert (last.champion, last.base) == (f"{remote.model}/2", model("honest").digest("policy"))
    assert last.benchmarks == judged.benchmarks
    assert remote.retrain()["ending"] == "nothing new"  # refused is an end as well

    subjects = remote.subjects()[::-1]
    assert sum(subject.startswith("align: ") for subject in subjects) == 3  # no crash trained anything twice
    sources = [record["content"]["source"] for record in after["records"][:2]]
    assert [subject for subject in subjects if "is the champion" in subject] == [
        f"retrain: {source} is the champion {remote.model}/{number}" for number, source in enumerate(sources, start=1)
    ]
    assert [subject for subject in subjects if subject.startswith("retrain: from ")] == [
        f"retrain: from {base}" for base in ("the base of the settings", f"{remote.model}/1", f"{remote.model}/2")
    ]


@dataclass(frozen=True)
class Judged:
    """What the branch says of the last candidate: the champion it was compared with, and the base it was trained from.

    `benchmarks` are the names of all frozen sets, the gate's own first.
    """

    champion: str
    base: str
    benchmarks: tuple[str, ...]

    @classmethod
    def of(cls, remote: Remote, folder: Path) -> "Judged":
        root = remote.clone(folder)
        gate = json.loads((root / "reports/gate.json").read_text())
        evaluation = json.loads((root / "reports/evaluation.json").read_text())
        return cls(gate["champion"], evaluation["digests"]["base"], (gate["benchmark"], *sets(root)))


def sets(root: Path) -> list[str]:
    """Names of the benchmark sets that a clone has."""
    run(root, "dvc", "pull", "-q", "data/benchmark")
    return sorted(path.name for path in (root / "data/benchmark").iterdir())


def counting(remote: Remote) -> list[tuple[str, int | None, int]]:
    """Kind, parent and version of the records that count, and as many must there be."""
    records = history(remote)["records"]
    assert [record["status"] for record in records] == ["counts"] * len(records)
    contents = [record["content"] for record in records]
    return [(content["kind"], content["parent"], content["version"]) for content in contents]


def history(remote: Remote) -> dict[str, Any]:
    """Of the production model, as the command line prints it."""
    environment = os.environ | remote.registry.environment()
    command = [sys.executable, "-m", "components.register", "history", "--json"]
    root = remote.clone(remote.path.parent / "history")
    text = subprocess.run(
        command, cwd=root, check=True, capture_output=True, text=True, env=environment, timeout=600
    ).stdout
    found: dict[str, Any] = json.loads(text)
    return found


def make_champion(remote: Remote, root: Path) -> None:
    """The candidate becomes the champion as if it had passed: what a gate says of one step is not asked here."""
    code = """
import sys
from pathlib import Path
from components.settings import load_settings
from tests.promote.championed import make_champion
root = Path(sys.argv[1])
settings = load_settings(root / "params.yaml")
make_champion(settings, root, f"{settings.register_.model_name}@candidate")
"""
    environment = os.environ | remote.registry.environment()
    environment["PYTHONPATH"] = str(REPOSITORY)
    subprocess.run([sys.executable, "-c", code, str(root)], check=True, env=environment, timeout=600)
