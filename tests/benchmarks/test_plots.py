"""The results' page says what the committed figures say, and its plots are made of them."""

import csv
import re
from pathlib import Path

import pytest

from benchmarks import plots
from components.artifacts.evaluation import Evaluation
from tests.made import REPOSITORY

PAGE = (REPOSITORY / "docs/results.md").read_text()
DEMO = Evaluation.model_validate_json(plots.EVALUATION.read_bytes())
NAMES = {"reward": "reward", "st-lpips": "stlpips", "rank_effnet": "rank_effnet", "st-lpips-vgg": "stlpips-vgg",
         "psnr": "psnr", "ssim": "ssim", "rank_nss": "rank_nss"}  # fmt: skip


def demo_table(page: str) -> dict[str, list[str]]:
    """Cells of the first table after the mark, by what the row is of."""
    table = re.search(r"<!-- figures: demo -->\n((?:\|.*\n)+)", page)
    assert table is not None
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.group(1).splitlines()[2:]]
    return {re.split(r"[ (↑↓]", cells[0])[0]: cells[1:] for cells in rows}


def rounded(value: float, as_written: str) -> bool:
    """Whether `value` is what the page writes, with the page's decimals."""
    (written,) = plots.numbers(as_written)
    decimals = len(as_written.strip("+−").partition(".")[2])
    return abs(value - written) <= 0.5 * 10**-decimals + 1e-9


@pytest.mark.parametrize("page", ["README.md", "docs/results.md"])
def test_the_demos_table_has_the_committed_figures(page: str) -> None:
    table = demo_table((REPOSITORY / page).read_text())
    assert {"reward", "st-lpips", "psnr"} <= table.keys() <= NAMES.keys()
    for name, (peer, base, aligned, *_) in table.items():
        row = DEMO.measures[NAMES[name]]
        assert rounded(DEMO.peers["realesrgan_fixed"][NAMES[name]], peer), name
        assert rounded(row.base, base), name
        assert rounded(row.aligned, aligned), name


def test_the_differences_have_the_committed_intervals() -> None:
    for name, (*_, cell) in demo_table(PAGE).items():
        row = DEMO.measures[NAMES[name]]
        interval = cell.partition("]")[0]
        numbers = re.findall(r"[+−]?\d*\.\d+", interval)
        for value, written in zip((row.difference, row.ci_low, row.ci_high), numbers, strict=True):
            assert rounded(value, written), (name, written)


def test_the_ablations_rows_are_read_from_the_page() -> None:
    rows = plots.ablation(PAGE)
    assert [row[0] for row in rows][:2] == ["DP²O-SR, N 2 of M 8", "no weights"]
    assert rows[0][1:] == (0.055, 0.042, 0.068, [0.066, 0.046, 0.053])
    assert all(low <= mean <= high and len(seeds) == 3 for _, mean, low, high, seeds in rows)
    with pytest.raises(ValueError, match="no table after"):
        plots.ablation("# A page\n")


def test_every_plot_is_drawn_and_shown(tmp_path: Path) -> None:
    made = plots.draw(tmp_path)
    assert all(file.stat().st_size > 10_000 for file in made)
    assert {file.name for file in made} <= {Path(name).name for name in re.findall(r"\(pictures/([^)]+)\)", PAGE)}
    rows = list(csv.DictReader(plots.VALIDATION.read_text().splitlines()))
    assert {"step", "reward", "within_limits"} <= rows[0].keys()
