import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import pytest
import yaml

from benchmarks.ablation import Judge, Study, claimed, merged, per_restoration, tabulate, trained_and_judged
from benchmarks.parts.ablation_table import table_text
from components.evaluate.comparison import Scored
from components.judge.measure import Measurement

ROOT = Path(__file__).parents[2]
RECIPE = yaml.safe_load((ROOT / "benchmarks/ablation.yaml").read_text())
VARIANTS = [(table, name) for table, variants in RECIPE["tables"].items() for name in variants]


def test_merged_replaces_leaves_and_keeps_their_neighbours() -> None:
    base = {"pair": {"top": 2, "seed": 0}, "sources": ["a"]}
    assert merged(base, {"pair": {"top": 4}, "sources": ["b", "c"]}) == {
        "pair": {"top": 4, "seed": 0},
        "sources": ["b", "c"],
    }
    assert base["pair"] == {"top": 2, "seed": 0}


@pytest.mark.parametrize(("table", "name"), VARIANTS)
def test_every_variant_of_the_recipe_is_allowed_by_the_settings(table: str, name: str, tmp_path: Path) -> None:
    study = Study.load(ROOT, RECIPE, tmp_path)
    settings = study.settings(RECIPE["tables"][table][name])
    assert (settings == study.settings({})) == (name == "dp2o")


def test_the_recipe_has_three_seeds_and_both_controls() -> None:
    assert len(RECIPE["seeds"]) >= 3
    builders = [change.get("pair", {}).get("builder") for change in RECIPE["tables"]["controls"].values()]
    assert {"random", "winners_only"} <= set(builders)


def test_figures_of_a_restoration_are_means_over_training_seeds() -> None:
    runs = [
        Scored([Measurement("lr", 0, {"psnr": value}), Measurement("lr", 1, {"psnr": 20.0})], [reward, 0.5])
        for value, reward in ((22.0, 0.2), (26.0, 0.6))
    ]
    rows = per_restoration(runs, ["psnr"])
    assert rows["lr", 0] == pytest.approx({"reward": 0.4, "psnr": 24.0})
    assert rows["lr", 1] == pytest.approx({"reward": 0.5, "psnr": 20.0})


def test_a_table_shows_differences_with_their_intervals_each_seed_and_the_lead() -> None:
    interval = {"mean": 0.01, "low": 0.002, "high": 0.018}
    behind = {"mean": -0.03, "low": -0.04, "high": -0.02}
    differences = {"reward": interval, "psnr": interval}
    text = table_text(
        "controls",
        {
            "dp2o": {"seeds": [0.01, 0.02], "differences": differences, "over": {"random pairs": interval}},
            "random pairs": {"seeds": [0.01], "differences": differences, "over": {"dp2o": behind}},
        },
        0.5,
        ["psnr"],
    )
    assert "| dp2o | +0.0100 [+0.0020, +0.0180] | +0.0100, +0.0200 |  | +0.0100 [+0.0020, +0.0180] |" in text
    assert "| random pairs | +0.0100 [+0.0020, +0.0180] | +0.0100 | -0.0300 [-0.0400, -0.0200] |" in text
    assert "psnr ↑" in text


@contextmanager
def another_process_in(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """One that works in `folder` until it is killed."""
    program = (
        "import sys, time; from pathlib import Path; from benchmarks.ablation import claimed\n"
        "with claimed(Path(sys.argv[1]), wait=False) as ours: print(ours, flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", program, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "True\n"
            yield process
        finally:
            process.kill()


def test_a_run_that_another_process_is_at_is_left_to_it_until_it_ends_however_that_ends(tmp_path: Path) -> None:
    study = Study.load(ROOT, RECIPE, tmp_path)
    folder = study.root(study.settings({"train": {"seed": 0}, "pair": {"seed": 0}}))
    judge = cast(Judge, None)  # nothing may be judged
    with another_process_in(folder) as process:
        assert trained_and_judged(study, judge, "dp2o", {}, 0, wait=False) is None
        assert not tabulate(study, judge, {"controls": {"dp2o": {}}}, [0], wait=False)
        assert [path.name for path in folder.iterdir()] == ["lock"]
        process.kill()
        with claimed(folder, wait=True) as ours:
            assert ours
    assert not (tmp_path / "results.md").exists()


def test_runs_that_differ_in_seed_or_settings_have_folders_of_their_own(tmp_path: Path) -> None:
    study = Study.load(ROOT, RECIPE, tmp_path)
    changes = [{}, {"train": {"seed": 1}}, {"pair": {"top": 1}}]
    assert len({study.root(study.settings(change)) for change in changes}) == 3
