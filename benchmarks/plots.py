"""The plots of docs/results.md: `python -m benchmarks.plots`, from committed figures alone.

docs/figures/demo.json and demo_validation.csv are the demo's reports/evaluation.json and validation.csv; copy them
there when the tables of the page are made anew (`--project` does). The ablation's figures are the page's own table.
"""

import argparse
import csv
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from components.artifacts import paths
from components.artifacts.evaluation import Evaluation

DOCS = Path(__file__).parents[1] / "docs"
FIGURES, PICTURES = DOCS / "figures", DOCS / "pictures"
EVALUATION, VALIDATION = FIGURES / "demo.json", FIGURES / "demo_validation.csv"
ABLATION = "Weights and ratios"
"""The words before the table."""

BETTER, WORSE, UNDECIDED, PLAIN = "#1a7f37", "#b42318", "#6b7280", "#374151"
NUMBER = re.compile(r"[+−]?\d*\.\d+")
Row = tuple[str, float, float, float, list[float]]
"""Name, mean, low and high end of the interval, and each training seed's value."""


def numbers(cell: str) -> list[float]:
    """All numbers of a table's cell, as the pages write them: `−.014 [−.017, −.009]`."""
    return [float(found.replace("−", "-")) for found in NUMBER.findall(cell)]


def ablation(page: str) -> list[Row]:
    """Rows of the page's table: what was trained, the reward over the base's, and each seed's.

    Raises:
        ValueError: the page has no such table.
    """
    _, found, rest = page.partition(ABLATION)
    table = re.search(r"^\|.*?(?=^(?!\|))", rest, re.MULTILINE | re.DOTALL)
    if not found or table is None:
        raise ValueError(f"docs/results.md has no table after {ABLATION!r}")
    rows: list[Row] = []
    for line in table.group(0).splitlines()[2:]:
        cells = [cell.strip(" *") for cell in line.strip("|").split("|")]
        mean, low, high = numbers(cells[2])
        rows.append((cells[0], mean, low, high, numbers(cells[3])))
    return rows


def gain(axes: Axes, evaluation: Evaluation) -> None:
    """Aligned less base by measure, in the base's deviations over restorations, turned so that right is better."""
    rows = list(evaluation.measures.items())[::-1]
    for place, (name, row) in enumerate(rows):
        unit = row.spread if row.higher_is_better else -row.spread
        low, high = sorted((row.ci_low / unit, row.ci_high / unit))
        colour = {"better": BETTER, "worse": WORSE}.get(row.verdict, UNDECIDED)
        axes.plot([low, high], [place, place], color=colour, linewidth=2)
        axes.plot(row.difference / unit, place, "o", color=colour, markersize=6)
        role = "" if name == "reward" else " (rewarded)" if row.in_reward else " (held out)"
        axes.text(-0.02, place, name + role, transform=axes.get_yaxis_transform(), ha="right", va="center")
    axes.axvline(0.0, color=PLAIN, linewidth=1)
    axes.set_yticks([])
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlabel("aligned − base, in standard deviations of the base; right is better")


def rewards(axes: Axes, evaluation: Evaluation) -> None:
    """The reward of what the aligned model is compared with."""
    steps = evaluation.controls["steps"]
    points = [
        ("Real-ESRGAN,\ncolour-fixed", evaluation.peers["realesrgan_fixed"]["reward"]),
        ("base", evaluation.reward.base),
        (f"base,\n{steps.value:g} steps", steps.reward.control),
        ("aligned", evaluation.reward.aligned),
    ]
    for place, (_, value) in enumerate(points):
        axes.plot(place, value, "o", markersize=9, color=BETTER if place == len(points) - 1 else UNDECIDED)
        axes.annotate(f"{value:.3f}".lstrip("0"), (place, value), xytext=(9, -4), textcoords="offset points")
    axes.set_xticks(range(len(points)), [name for name, _ in points])
    axes.set_xlim(-0.4, len(points) - 0.4)
    axes.set_ylabel("reward (fixed normaliser)")


def validation(axes: Axes, rows: list[dict[str, str]]) -> None:
    """The validation reward by step; a ring marks a checkpoint that leaves the limits."""
    steps, values = [int(row["step"]) for row in rows], [float(row["reward"]) for row in rows]
    axes.plot(steps, values, "-o", color=BETTER, markersize=5)
    outside = [(step, value) for step, value, row in zip(steps, values, rows, strict=True)
               if float(row["within_limits"]) < 1]  # fmt: skip
    for step, value in outside:
        axes.plot(step, value, "o", markersize=12, markerfacecolor="none", color=WORSE)
        axes.annotate("outside of train.limits", (step, value), xytext=(8, -14), textcoords="offset points")
    axes.axhline(values[0], color=UNDECIDED, linestyle="--", linewidth=1)
    axes.text(steps[-1], values[0], "base ", ha="right", va="bottom", color=UNDECIDED)
    axes.set_xlabel("step")
    axes.set_ylabel("validation reward")


def seeds(axes: Axes, rows: list[Row]) -> None:
    """Each row's reward over the base's: interval over photos, mean, and the training seeds as small dots."""
    for place, (name, mean, low, high, each) in enumerate(rows[::-1]):
        colour = BETTER if name.startswith("DP²O-SR") else PLAIN
        axes.plot([low, high], [place, place], color=colour, linewidth=2)
        axes.plot(mean, place, "o", color=colour, markersize=6)
        axes.plot(each, [place + 0.25] * len(each), ".", color=UNDECIDED, markersize=5)
        axes.text(-0.02, place, name, transform=axes.get_yaxis_transform(), ha="right", va="center")
    axes.axvline(0.0, color=PLAIN, linewidth=1)
    axes.set_yticks([])
    axes.set_xlabel("reward over the base's; bar: 95 % over photos, dots: training seeds")


def draw(folder: Path = PICTURES) -> list[Path]:
    """All plots, into `folder`; their files."""
    mpl.rcParams |= {"svg.hashsalt": "dp2o", "svg.fonttype": "path", "font.size": 10}  # the same bytes every time
    evaluation = Evaluation.model_validate_json(EVALUATION.read_bytes())
    curve = list(csv.DictReader(VALIDATION.read_text().splitlines()))
    plots: list[tuple[str, tuple[float, float], Callable[[Axes], None]]] = [
        ("gain.svg", (7.0, 3.0), lambda axes: gain(axes, evaluation)),
        ("rewards.svg", (6.0, 3.0), lambda axes: rewards(axes, evaluation)),
        ("validation.svg", (6.0, 3.0), lambda axes: validation(axes, curve)),
        ("ablation.svg", (7.5, 4.2), lambda axes: seeds(axes, ablation((DOCS / "results.md").read_text()))),
    ]
    made = []
    for name, size, plot in plots:
        figure = Figure(figsize=size)
        axes = figure.add_subplot()
        axes.spines[["top", "right"]].set_visible(False)
        plot(axes)
        figure.savefig(folder / name, metadata={"Date": None}, bbox_inches="tight")
        made.append(folder / name)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--project", type=Path, help="copy its figures to docs/figures first")
    project: Path | None = parser.parse_args().project
    if project is not None:
        shutil.copyfile(project / paths.EVALUATION, EVALUATION)
        shutil.copyfile(project / paths.VALIDATION_CURVE, VALIDATION)
    for file in draw():
        print(file)


if __name__ == "__main__":
    main()
