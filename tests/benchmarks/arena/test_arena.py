"""The command on a small project: what it makes, that it continues, and that processes divide the work."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from benchmarks.arena import __main__ as arena
from benchmarks.arena import added, recipe
from benchmarks.arena.collect import finished
from benchmarks.arena.judge import Bench, schema
from benchmarks.arena.results import Results
from benchmarks.arena.study import Study, claimed
from benchmarks.arena.work import Plan, attempt, done
from components.artifacts import tables
from components.errors import BadInput, Diverged
from components.train import stage as train
from tests.made import REPOSITORY, photo, small_params, tiny_model

SIDE = 32
CHANGED: dict[str, dict[str, Any]] = {
    "run": {"device": "cpu", "workers": 1},
    "prepare": {"crop": SIDE, "min_side": SIDE, "split": {"align": 0.4, "validation": 0.2, "test": 0.4}},
    "backbone": {"path": "base", "steps": 2},
    "generate": {"candidates": 4, "batch": 4},
    "score": {"fr": ["psnr"], "nr": [], "held_out": ["ssim", "ssim_y"]},
    "gate": {"margins": {"ssim_y": 0.01}},
    "pair": {"top": 1},
    "train": {
        "groups_per_step": 2, "micro_batch": 2, "warmup_steps": 0, "validation_images": 1, "validation_seeds": 2,
        "learning_rate": 1e-3, "held_out_groups": 0,
    },
    "evaluate": {"seeds": 2, "bootstrap": 100, "peers": []},
}  # fmt: skip
RECIPE: dict[str, Any] = {
    "settings": {}, "passes": 80, "search": {"factors": [1.0, 2.0], "seed": 9}, "seeds": [0, 1], "checkpoint": "last",
    "points": 2, "standard": "dp2o", "axes": {"fidelity": "psnr", "perception": "ssim"},
    "compositions": {
        "dp2o": {"table": "methods", "about": "the paper's"},
        "winners only": {
            "table": "controls", "about": "a control",
            "settings": {"pair": {"builder": "winners_only"}, "train": {"objective": "winners_only"}},
        },
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("project")
    values = small_params()
    for name, block in CHANGED.items():
        values.setdefault(name, {}).update(block)
    (root / "params.yaml").write_text(yaml.safe_dump(values))
    (root / "data/photos").mkdir(parents=True)
    generator = np.random.default_rng(1)
    for number in range(10):
        Image.fromarray(photo(generator, SIDE)).save(root / f"data/photos/{number}.png")
    (root / "base").mkdir()
    tiny_model().save(root / "base")
    (root / "arena.yaml").write_text(yaml.safe_dump(RECIPE))
    return root


def command(root: Path, *more: str) -> list[str]:
    places = {"--recipe": "arena.yaml", "--project": ".", "--out": "out", "--page": "reports/arena.html"}
    return [word for option, path in places.items() for word in (option, str(root / path))] + list(more)


@pytest.fixture(scope="module")
def made(project: Path) -> Path:
    threads = torch.get_num_threads()
    try:
        assert arena.main(command(project)) == 0
    finally:
        torch.set_num_threads(threads)
    return project


def test_all_compositions_are_trained_with_an_equal_budget_and_judged(made: Path) -> None:
    results = Results.read(made / "out")
    assert results.complete
    assert set(results.compositions) == {"dp2o", "winners only"}
    for one in results.compositions.values():
        spent = one.passes.rollouts + one.passes.judge + one.passes.training
        assert 80 - 2 * 2 * 2 < spent <= 80  # less than one step is left over
        assert one.seeds == [0, 1]
        assert len(one.tries) == 2
        assert one.learning_rate in {1e-3, 2e-3}
        assert set(one.differences) >= {"reward", "psnr", "ssim", "grid", "diversity"}
        assert one.curve[0].passes == one.passes.rollouts + one.passes.judge
        assert one.curve[0].reward == pytest.approx(results.base_validation)
    assert results.compositions["winners only"].steps[0] == 2 * results.compositions["dp2o"].steps[0]
    assert results.compositions["dp2o"].over_standard is None
    assert results.matrix["dp2o"]["winners only"].mean == -results.matrix["winners only"]["dp2o"].mean


def test_rows_hold_every_restoration_and_make_the_figures(made: Path) -> None:
    results = Results.read(made / "out")
    rows = tables.read_rows(made / "out/results.parquet", schema(["psnr", "ssim", "ssim_y"]))
    assert len(rows) == (1 + 2 * 2) * results.restorations == 5 * 2 * results.images
    by_model = {name: [row for row in rows if row["composition"] == name] for name in ("base", "dp2o")}
    lead = np.mean([row["psnr"] for row in by_model["dp2o"]]) - np.mean([row["psnr"] for row in by_model["base"]])
    assert results.compositions["dp2o"].differences["psnr"].mean == pytest.approx(lead)


def test_results_fit_the_schema_that_is_written_beside_them(made: Path) -> None:
    written = json.loads((made / "out/results.schema.json").read_text())
    assert written == Results.model_json_schema()
    assert set(written["required"]) <= set(json.loads((made / "out/results.json").read_text()))


def test_the_page_asks_for_nothing_and_shows_all(made: Path) -> None:
    text = (made / "reports/arena.html").read_text()
    assert "http" not in text.replace("http-equiv", "").replace("http://www.w3.org/2000/svg", "")
    for part in ('id="pareto"', 'id="table"', 'id="matrix"', 'id="curves"', "data:image/webp", "winners only"):
        assert part in text
    assert text.count("<figcaption>HR</figcaption>") == text.count("<figcaption>base</figcaption>") >= 2


def test_what_is_done_is_not_done_again(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a training that is done was started again")

    monkeypatch.setattr(train, "run", refuse)
    before = (made / "out/results.json").read_bytes()
    assert arena.main(command(made)) == 0
    assert (made / "out/results.json").read_bytes() == before


def test_tables_go_between_the_markers_of_a_page(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = made / "arena.md"
    page.write_text("# Arena\n\n<!-- figures: arena -->\nbefore\n<!-- end of figures -->\n\nafter\n")
    assert arena.main(command(made, "--report-only", "--docs", str(page))) == 0
    text = page.read_text()
    assert "before" not in text
    assert text.endswith("<!-- end of figures -->\n\nafter\n")
    assert "### controls" in text
    assert "| winners only |" in text
    page.write_text("# Arena\n")
    assert arena.main(command(made, "--report-only", "--docs", str(page))) == 2
    assert "lacks the lines <!-- figures: arena -->" in capsys.readouterr().err


COLUMNS = schema(["psnr", "ssim", "ssim_y"])


def theirs(made: Path, folder: Path, **changes: object) -> Path:
    """An arena of somebody else: ours, whose control has another name and rewards a little higher, photo by photo."""
    folder.mkdir()
    document = json.loads((made / "out/results.json").read_text()) | changes
    document["compositions"]["their method"] = document["compositions"].pop("winners only")
    (folder / "results.json").write_text(json.dumps(document))
    rows = tables.read_rows(made / "out/results.parquet", COLUMNS)
    for row in rows:
        if row["composition"] == "winners only":
            row |= {"composition": "their method", "reward": row["reward"] + higher(row)}
    tables.write_rows(folder / "results.parquet", COLUMNS, rows)
    return folder


def higher(row: tables.Row) -> float:
    return 0.01 * (int(row["photo"][:4], 16) % 7)


def test_others_add_a_row_to_results(made: Path, tmp_path: Path) -> None:
    """Figures are of the rows, whatever their document says; what rows cannot tell is the document's."""
    shutil.copytree(made / "out", tmp_path / "out", symlinks=True)
    places = ("--out", str(tmp_path / "out"), "--page", str(tmp_path / "page.html"))
    assert arena.main(command(made, *places, "--add", str(theirs(made, tmp_path / "theirs")))) == 0
    before, after = Results.read(made / "out"), Results.read(tmp_path / "out")
    assert list(after.compositions) == [*before.compositions, "their method"]
    added_one, same = after.compositions["their method"], after.compositions["winners only"]
    rows = tables.read_rows(tmp_path / "out/results.parquet", COLUMNS)
    assert len(rows) == 7 * after.restorations
    lead = float(np.mean([higher(row) for row in rows if row["composition"] == "base"]))
    assert added_one.figures["reward"] == pytest.approx(same.figures["reward"] + lead)
    assert added_one.differences["reward"].mean == pytest.approx(same.differences["reward"].mean + lead)
    assert added_one.figures["psnr"] == same.figures["psnr"]
    assert after.matrix["their method"]["winners only"].mean == pytest.approx(lead)
    assert (added_one.passes, added_one.steps, added_one.curve) == (same.passes, same.steps, same.curve)
    assert "their method" in (tmp_path / "page.html").read_text()
    assert arena.main(command(made, *places)) == 0  # it stays
    assert Results.read(tmp_path / "out") == after


@pytest.mark.parametrize(
    ("changes", "more", "message"),
    [
        ({"digests": {}}, [], "differs in the base's weights and in the metrics and in the dataset"),
        ({"passes": 81}, [], "has network passes 81, ours 80"),
        ({"checkpoint": "best"}, [], "has checkpoint best, ours last"),
        ({}, ["--added", "dp2o"], "dp2o is in both arenas: give it another name"),
        ({}, ["--added", "kto"], "there is no kto among them"),
    ],
)
def test_rows_that_cannot_be_compared_are_refused(
    made: Path,
    tmp_path: Path,
    changes: dict[str, object],
    more: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = (made / "out/results.json").read_bytes()
    assert arena.main(command(made, "--add", str(theirs(made, tmp_path / "theirs", **changes)), *more)) == 2
    assert message in capsys.readouterr().err
    assert (made / "out/results.json").read_bytes() == before


def test_a_row_that_lacks_restorations_is_refused(made: Path, tmp_path: Path) -> None:
    other = theirs(made, tmp_path / "theirs")
    rows = tables.read_rows(other / "results.parquet", COLUMNS)
    last = max(number for number, row in enumerate(rows) if row["composition"] == "their method")
    tables.write_rows(other / "results.parquet", COLUMNS, rows[:last] + rows[last + 1 :])
    ours = Results.read(made / "out")
    with pytest.raises(BadInput, match=r"their method with seed \d has \d+ of the \d+ restorations that the base has"):
        added.add(other, ours, ["psnr", "ssim", "ssim_y"], tmp_path, None)
    assert not added.folder_of(tmp_path).exists()


def study_of(root: Path, **changes: object) -> Study:
    path = root / "changed.yaml"
    path.write_text(yaml.safe_dump(recipe.merged(RECIPE, changes)))
    return Study.load(root, recipe.read(path, {}), root / "out")


def test_a_training_that_diverges_is_a_result_and_no_end(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = study_of(made, search={"factors": [1.0], "seed": 9}, seeds=[0, 7])

    def diverge(*_: object) -> None:
        raise Diverged("the loss of step 3 is inf")

    monkeypatch.setattr(train, "run", diverge)
    training = study.training("dp2o", 1.0, 7)
    assert study.train(training)["failure"] == "the loss of step 3 is inf"
    assert finished(Plan(study))["dp2o"].diverged == {7: "the loss of step 3 is inf"}

    def refuse(*_: object) -> None:
        raise BadInput("no such file")

    monkeypatch.setattr(train, "run", refuse)
    with pytest.raises(BadInput, match="no such file"):  # a fault of the settings is none of the method
        study.train(study.training("winners only", 1.0, 7))


def test_runs_that_differ_in_seed_rate_or_settings_have_folders_of_their_own(made: Path) -> None:
    study = study_of(made)
    trainings = [study.training("dp2o", 1.0, 0), study.training("dp2o", 2.0, 0), study.training("dp2o", 1.0, 1)]
    other = study_of(made, compositions={"dp2o": {"settings": {"train": {"beta": 10.0}}}})
    trainings.append(other.training("dp2o", 1.0, 0))
    assert len({training.root for training in trainings}) == 4


def test_other_candidates_have_pairs_runs_and_a_base_of_their_own(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "out/shared", tmp_path / "shared")
    study = study_of(made)
    same, other = (Study(study.recipe, tmp_path, study.values) for _ in range(2))
    first, base = same.training("dp2o", 1.0, 0), same.base
    assert (first.root.name, base.name) == (study.training("dp2o", 1.0, 0).root.name, study.base.name)
    path = tmp_path / "shared/data/scores.parquet"
    names, rows = tables.read_any(path)
    turned = [row | {"psnr": -row["psnr"]} for row in rows]
    tables.write_rows(path, tables.scores_schema([name for name in names if name == "psnr"]), turned)
    second = other.training("dp2o", 1.0, 0)
    assert second.root != first.root
    assert other.base != base
    pairs = [tables.read_rows(one / "data/pairs.parquet", tables.PAIRS) for one in (tmp_path / "pairs").iterdir()]
    assert len(pairs) == 2
    assert {(row["winner"], row["loser"]) for row in pairs[0]} != {(row["winner"], row["loser"]) for row in pairs[1]}


@contextmanager
def another_process_in(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """One that works in `folder` until it is killed."""
    program = (
        "import sys, time; from pathlib import Path; from benchmarks.arena.study import claimed\n"
        "with claimed(Path(sys.argv[1]), wait=False) as ours: print(ours, flush=True); time.sleep(600)"
    )
    called = [sys.executable, "-c", program, str(folder)]
    with subprocess.Popen(called, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "True\n"
            yield process
        finally:
            process.kill()


def test_a_run_that_another_process_is_at_is_left_to_it_until_it_ends_however_that_ends(made: Path) -> None:
    study = study_of(made, search={"factors": [3.0], "seed": 9})
    pieces = [piece for piece in Plan(study).pieces() if not done(piece)]
    training = pieces[0].training()
    assert training is not None
    bench = cast(Bench, None)  # nothing may be judged
    with another_process_in(training.root) as process:
        assert not attempt(pieces[0], study, bench, wait=False)
        assert [path.name for path in training.root.iterdir()] == ["lock"]
        process.kill()
        with claimed(training.root, wait=True) as ours:
            assert ours


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--only", "kto"], "no compositions kto"),
        (["--passes", "30"], "30 passes leave no training"),
        (["--set", "pair.top=9"], "pair.top 9"),
        (["--set", "score.held_out=[ssim_y]"], "axes: ssim is not measured; score has psnr"),
        (["--project", "/nowhere"], "/nowhere/params.yaml does not exist"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(
    made: Path, more: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert arena.main(command(made, *more)) == 2
    told = capsys.readouterr().err
    assert message in told
    assert "Traceback" not in told
