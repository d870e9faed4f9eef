"""A metric of one's own goes through the stages as this project's do."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from components.artifacts import tables
from components.artifacts.images import to_tensor
from components.artifacts.shards import ShardFolder
from components.entry.main import run_stage
from components.errors import BadInput, ExitCode
from components.metrics.base import digest
from components.metrics.gradients import load_gradual
from components.metrics.table import info
from components.pipeline.files import untracked_folders
from components.settings import load_settings
from tests.examples.lost_edges import lost_edges
from tests.made import REPOSITORY, write_candidates, write_dataset, write_params

HERE = Path(__file__).parent
NAME = "my_metrics.lost_edges:LOST_EDGES"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Made candidates, and the example beside params.yaml, which names it as a user would."""
    (tmp_path / "my_metrics").mkdir()
    shutil.copy(HERE / "lost_edges.py", tmp_path / "my_metrics")
    forget()
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    shutil.copy(REPOSITORY / "dvc.yaml", tmp_path)
    write_candidates(tmp_path, write_dataset(tmp_path, ["align"] * 2), 4)
    write(tmp_path)
    yield tmp_path
    forget()


def forget() -> None:
    """Modules of another test's folder."""
    for module in [name for name in sys.modules if name.split(".")[0] in ("my_metrics", "my_methods")]:
        del sys.modules[module]


def write(root: Path, **score: list[str]) -> None:
    write_params(
        root, score={"fr": [NAME], "nr": [], "held_out": ["psnr"]} | score, generate={"candidates": 4}, pair={"top": 1}
    )


def test_it_is_scored_rewarded_and_noticed_when_it_changes(project: Path) -> None:
    assert run_stage("score", project / "params.yaml") == ExitCode.OK
    names, rows = tables.read_any(project / "data/scores.parquet")
    assert NAME in names
    dataset, candidates = ShardFolder(project / "data/dataset"), ShardFolder(project / "data/candidates")
    shards = {row["lr_id"]: row["shard"] for row in tables.read_rows(project / "data/dataset.parquet", tables.DATASET)}
    made = tables.read_rows(project / "data/candidates.parquet", tables.CANDIDATES)
    of_candidate = {(row["lr_id"], row["index"]): row["shard"] for row in made}
    for row in rows:
        hr = dataset[shards[row["lr_id"]]].image(f"{row['lr_id']}.hr.png")
        key = (row["lr_id"], row["index"])
        candidate = candidates[of_candidate[key]].image(f"{key[0]}.{key[1]:03d}.png")
        assert row[NAME] == pytest.approx(float(lost_edges(to_tensor(candidate), to_tensor(hr))[0]), abs=1e-7)
    for lr_id in shards:
        group = [row for row in rows if row["lr_id"] == lr_id]
        best = min(group, key=lambda row: float(row[NAME]))
        assert best["reward"] == max(row["reward"] for row in group)
    found = untracked_folders(load_settings(project / "params.yaml"), project)
    assert {("score", "my_metrics"), ("pair", "my_metrics"), ("evaluate", "my_metrics")} <= set(found)


def test_a_change_of_its_code_or_files_is_another_digest(project: Path) -> None:
    before = digest(NAME)
    assert digest(NAME) == before
    with (project / "my_metrics/lost_edges.py").open("a") as file:
        file.write("# another revision\n")
    assert digest(NAME) != before


def test_its_gradient_is_followed(project: Path) -> None:
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0), requires_grad=True)
    hr = torch.full((2, 3, 16, 16), 0.5)
    values = load_gradual(NAME, torch.device("cpu"))(images, hr)
    assert values.tolist() == pytest.approx((-lost_edges(images, hr)).tolist())
    (gradient,) = torch.autograd.grad(values.sum(), images)
    with torch.no_grad():
        assert bool((load_gradual(NAME, torch.device("cpu"))(images + 0.1 * gradient, hr) > values).all())


@pytest.mark.parametrize(
    ("score", "message"),
    [
        ({"fr": ["nowhere:ROW"]}, r"score\.fr: metric nowhere:ROW: there is no module nowhere"),
        ({"fr": ["my_metrics.lost_edges:lost_edges"]}, "must be an OwnMetric"),
        ({"nr": [NAME], "fr": ["psnr"], "held_out": []}, r"score\.nr names .* kind FR: move it to score\.fr"),
        ({"fr": ["text_error"]}, r"text_error, which is undefined for some images.*score\.held_out"),
    ],
)
def test_what_cannot_be_used_is_refused_when_settings_are_read(
    project: Path, score: dict[str, list[str]], message: str
) -> None:
    write(project)
    values = yaml.safe_load((project / "params.yaml").read_text())
    values["score"] |= score
    (project / "params.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(BadInput, match=message):
        load_settings(project / "params.yaml")


def test_where_its_library_is_missing_settings_are_read_all_the_same(project: Path) -> None:
    """A flow has no torch, and reads the settings of stages that have."""
    forget()
    with (project / "my_metrics/lost_edges.py").open("a") as file:
        file.write("import no_such_library\n")
    load_settings(project / "params.yaml")
    with pytest.raises(BadInput, match=r"my_metrics\.lost_edges imports no_such_library, which is not installed here"):
        info(NAME)


def test_contributing_shows_the_very_file_and_settings(project: Path) -> None:
    text = (REPOSITORY / "CONTRIBUTING.md").read_text()
    assert (HERE / "lost_edges.py").read_text() in text
    (shown,) = (block for block in text.split("```yaml\n") if block.startswith("score:"))
    (project / "my_metrics").rename(project / "my_methods")
    write(project, fr=["ssim"], **yaml.safe_load(shown.split("```")[0])["score"])
    assert "my_methods.lost_edges:LOST_EDGES" in load_settings(project / "params.yaml").score.held_out
    assert np.isclose(info("my_methods.lost_edges:LOST_EDGES").min_size, 2)
