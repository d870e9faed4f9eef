"""The examples of CONTRIBUTING.md: the page shows these files, and they go through the stages as a user's would."""

import csv
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from components.artifacts import tables
from components.entry.main import run_stage
from components.errors import BadInput, ExitCode
from components.pipeline.files import untracked_folders
from components.rewards.alignment import align
from components.settings import BuilderSettings, load_settings
from tests.made import REPOSITORY, tiny_model, write_params
from tests.pair.test_stage import FR, NR, drawn, write_scores
from tests.train.rig import COUNT, GROUPS, SHORT, write_project

HERE = Path(__file__).parent
EXAMPLES = ("hinge", "pareto_front", "worst_metric")


def settings(root: Path, pair: dict[str, Any] | None = None, train: dict[str, Any] | None = None) -> None:
    write_params(
        root,
        run={"threads": 1, "device": "cpu"},
        backbone={"path": "weights", "steps": 2},
        generate={"candidates": COUNT},
        score={"fr": FR, "nr": NR, "held_out": []},
        pair={"top": 2} | (pair or {}),
        train=SHORT | {"steps": 2} | (train or {}),
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Made candidates and scores, and the smallest model; pairs and training are the stages' own."""
    write_project(tmp_path)
    (tmp_path / "weights").mkdir()
    tiny_model().save(tmp_path / "weights")
    rows = tables.read_rows(tmp_path / "data/dataset.parquet", tables.DATASET)
    ids = [row["lr_id"] for row in rows if row["split"] == "align"]
    assert len(ids) == GROUPS
    write_scores(tmp_path, {lr_id: drawn(seed, FR + NR, COUNT) for seed, lr_id in enumerate(ids)}, FR + NR)
    return tmp_path


def run(root: Path, *stages: str) -> None:
    for stage in stages:
        assert run_stage(stage, root / "params.yaml") == ExitCode.OK


def pairs_of(root: Path) -> list[tables.Row]:
    return tables.read_rows(root / "data/pairs.parquet", tables.PAIRS)


def log_of(root: Path) -> list[dict[str, float]]:
    lines = csv.DictReader((root / "reports/training.csv").read_text().splitlines())
    return [{name: float(value) for name, value in line.items()} for line in lines]


def with_judge(root: Path, **blocks: Any) -> None:
    """Validation by PSNR: the metrics whose scores were made up have no weights here."""
    settings(root, **blocks)
    values = yaml.safe_load((root / "params.yaml").read_text())
    values["score"] = {"fr": ["psnr"], "nr": [], "held_out": [], "batch": 4}
    (root / "params.yaml").write_text(yaml.safe_dump(values))


def test_an_objective_of_ones_own(project: Path) -> None:
    own = {"objective": {"kind": "tests.examples.hinge:HINGE", "width": 2.0}}
    settings(project, train=own)
    run(project, "pair")
    with_judge(project, train=own | {"groups_per_step": 6, "micro_batch": 3})
    run(project, "train")
    weights = [row["weight"] for row in pairs_of(project)]
    first, second = log_of(project)
    assert first["loss"] == pytest.approx(2.0 * np.mean(weights), rel=1e-5)  # z = 0 before the first step
    assert second["margin"] != 0.0
    assert (project / "models/aligned/last/model.safetensors").is_file()


def test_a_pair_builder_of_ones_own(project: Path) -> None:
    own = {"builder": {"kind": "tests.examples.pareto_front:PARETO_FRONT", "most": 3}, "candidates": 4}
    settings(project, pair=own)
    run(project, "pair")
    scores = {(row["lr_id"], row["index"]): row for row in tables.read_any(project / "data/scores.parquet")[1]}
    rows = pairs_of(project)
    groups = tables.read_rows(project / "data/groups.parquet", tables.GROUPS)
    assert 0 < len(rows) <= 3 * len(groups)

    def aligned(lr_id: str, index: int) -> np.ndarray:
        return np.array([align(name, np.array([scores[lr_id, index][name]]))[0] for name in FR + NR])

    for row in rows:
        assert row["target"] is not None
        of_group = [aligned(row["lr_id"], index) for index in range(4)]
        winner, loser = of_group[row["winner"]], of_group[row["loser"]]
        assert not any((other >= winner).all() and (other > winner).any() for other in of_group)
        assert not any((loser >= other).all() and (loser > other).any() for other in of_group)
    with_judge(project, pair=own)
    run(project, "train")
    assert np.isfinite([row["loss"] for row in log_of(project)]).all()


def test_a_scalariser_of_ones_own(project: Path) -> None:
    settings(project, pair={"scalariser": {"kind": "tests.examples.worst_metric:WORST_METRIC", "mean_share": 0.25}})
    run(project, "pair")
    raw: dict[str, list[tables.Row]] = {}
    for row in tables.read_any(project / "data/scores.parquet")[1]:
        raw.setdefault(row["lr_id"], []).append(row)
    for group in tables.read_rows(project / "data/groups.parquet", tables.GROUPS):
        values = [align(name, np.array([row[name] for row in raw[group["lr_id"]]])) for name in FR + NR]
        stretched = np.array([(row - row.min()) / (row.max() - row.min()) for row in values])
        expected = 0.25 * stretched.mean(axis=0) + 0.75 * stretched.min(axis=0)
        assert group["rewards"] == pytest.approx(expected.tolist())
        gaps = [row["gap"] for row in pairs_of(project) if row["lr_id"] == group["lr_id"]]
        assert max(gaps) == pytest.approx(expected.max() - expected.min())


def test_a_module_beside_params_is_found_and_noticed_when_it_changes(project: Path) -> None:
    (project / "my_methods").mkdir()
    shutil.copy(HERE / "hinge.py", project / "my_methods/hinge_here.py")
    shutil.copy(HERE / "pareto_front.py", project / "front_here.py")
    shutil.copy(REPOSITORY / "dvc.yaml", project)
    settings(
        project,
        pair={"builder": "front_here:PARETO_FRONT"},
        train={"objective": "my_methods.hinge_here:HINGE"},
    )
    loaded = load_settings(project / "params.yaml")
    assert isinstance(loaded.pair.builder, BuilderSettings)
    assert loaded.pair.builder.model_dump() == {"kind": "front_here:PARETO_FRONT", "most": 16}
    assert loaded.train.objective.model_dump()["beta"] == 150.0
    found = [(stage, path) for stage, path in untracked_folders(loaded, project) if stage in ("pair", "train")]
    assert ("pair", "front_here.py") in found
    assert ("train", "my_methods") in found
    run(project, "pair")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import no_such_library\n", r"away:ROW: away imports no_such_library, which is not installed here"),
        ("ROW = 3\n", r"away:ROW must be a row whose settings are a subclass of BuilderSettings"),
        ("", r"module away has nothing named ROW"),
        (None, r"there is no module away: it must lie beside params\.yaml"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str | None, message: str
) -> None:
    monkeypatch.syspath_prepend(str(project))
    monkeypatch.delitem(sys.modules, "away", raising=False)
    settings(project)
    values = yaml.safe_load((project / "params.yaml").read_text())
    values["pair"]["builder"] = "away:ROW"
    (project / "params.yaml").write_text(yaml.safe_dump(values))
    if text is not None:
        (project / "away.py").write_text(text)
    if text == "import no_such_library\n":  # a flow has no torch, and reads settings all the same
        assert not load_settings(project / "params.yaml").pair.builder.loaded
    assert run_stage("pair", project / "params.yaml") == ExitCode.BAD_INPUT
    assert re.search(message, capsys.readouterr().err)
    assert not (project / "data/groups.parquet").exists()


@pytest.mark.parametrize("example", [*EXAMPLES, "fading", "one_conv"])
def test_contributing_shows_the_very_files(example: str) -> None:
    text = (REPOSITORY / "CONTRIBUTING.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert (HERE / f"{example}.py").read_text() in blocks
    assert f"tests/examples/{example}.py" in text


def test_the_settings_that_contributing_shows_load(project: Path) -> None:
    """Each YAML block of the page names an example, and is what the stages take."""
    text = (REPOSITORY / "CONTRIBUTING.md").read_text()
    shown = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]
    ours = [block for block in shown if set(block) <= {"pair", "train"} and "my_methods" in str(block)]
    assert len(ours) == len(EXAMPLES)
    (project / "my_methods").mkdir()
    for example in EXAMPLES:
        shutil.copy(HERE / f"{example}.py", project / "my_methods")
    for block in ours:
        settings(project, **block)
        load_settings(project / "params.yaml")
    with pytest.raises(BadInput, match=r"train\.objective\.widht: Extra inputs are not permitted"):
        settings(project, train={"objective": {"kind": "my_methods.hinge:HINGE", "widht": 1.0}})
