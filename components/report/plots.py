"""The report's plots as files that go into a paper: SVG and PNG of the same drawing, by matplotlib. Pure.

The same figures give the same bytes: no date, no random ids.
"""

import io
from collections.abc import Callable, Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from components.artifacts.evaluation import Difference, Evaluation
from components.report.closeups import Closeup
from components.report.curves import Table

BETTER, WORSE, UNDECIDED, PLAIN, BASE = "#1a7f37", "#b42318", "#6b7280", "#374151", "#9a6700"
DPI = 200
STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "svg.hashsalt": "dp2o",
    "savefig.bbox": "tight",
}


def plots(evaluation: Evaluation, training: Table, validation: Table, closeups: Sequence[Closeup]) -> dict[str, bytes]:
    """Content by file name.

    Args:
        training: columns of reports/training.csv.
        validation: of reports/validation.csv.
    """
    drawn: dict[str, Callable[[], Figure]] = {
        "gain": lambda: _figure(6.4, 0.32 * len(evaluation.measures) + 0.9, lambda axes: _gain(axes, evaluation)),
        "best_mean_worst": lambda: _figure(4.6, 3.2, lambda axes: _spread(axes, evaluation)),
        "validation": lambda: _figure(4.6, 3.0, lambda axes: _validation(axes, validation)),
        "training": lambda: _figure(4.6, 3.0, lambda axes: _line(axes, training, "loss", "loss")),
    }
    if closeups:
        drawn["closeups"] = lambda: _closeups(closeups)
    with mpl.rc_context(STYLE):
        return {f"{name}.{kind}": content for name, draw in drawn.items() for kind, content in _files(draw()).items()}


def _files(figure: Figure) -> dict[str, bytes]:
    svg, png = io.BytesIO(), io.BytesIO()
    figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
    figure.savefig(png, format="png", dpi=DPI, metadata={"Software": None})
    return {"svg": svg.getvalue(), "png": png.getvalue()}


def _figure(width: float, height: float, draw: Callable[[Axes], None]) -> Figure:
    figure = Figure(figsize=(width, height))
    draw(figure.add_subplot())
    return figure


def _gain(axes: Axes, evaluation: Evaluation) -> None:
    """Aligned less base by measure, in the base's deviations over restorations, turned so that right is better."""
    rows = [(name, row) for name, row in evaluation.measures.items() if row.spread > 0.0][::-1]
    for place, (name, row) in enumerate(rows):
        low, high = sorted((_turned(row, row.ci_low), _turned(row, row.ci_high)))
        colour = {"better": BETTER, "worse": WORSE}.get(row.verdict, UNDECIDED)
        axes.plot([low, high], [place, place], color=colour, linewidth=2)
        axes.plot(_turned(row, row.difference), place, "o", color=colour, markersize=5)
        role = "" if name == "reward" else " (rewarded)" if row.in_reward else " (held out)"
        axes.text(-0.02, place, name + role, transform=axes.get_yaxis_transform(), ha="right", va="center")
    axes.axvline(0.0, color=PLAIN, linewidth=1)
    axes.set_yticks([])
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlabel(
        f"aligned − base, in standard deviations of the base, {evaluation.confidence:.0%} CI; right is better"
    )


def _turned(row: Difference, value: float) -> float:
    return value / (row.spread if row.higher_is_better else -row.spread)


def _spread(axes: Axes, evaluation: Evaluation) -> None:
    """Best, mean and worst of M restorations."""
    for (model, sizes), colour in zip(evaluation.best_mean_worst, (BASE, BETTER), strict=True):
        for kind, style in (("best", "--"), ("mean", "-"), ("worst", ":")):
            values = [float(getattr(values, kind)) for values in sizes.values()]
            places = [int(size) for size in sizes]
            axes.plot(places, values, style, color=colour, marker="o", label=f"{model}, {kind}")
    axes.set_xticks(places)
    axes.set_xlabel("M, restorations of an image")
    axes.set_ylabel("reward")
    axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _validation(axes: Axes, validation: Table) -> None:
    """The validation reward, with the base's as a line."""
    _line(axes, validation, "reward", "validation reward", marker="o")
    axes.axhline(validation["reward"][0], color=BASE, linewidth=1, label="base")
    axes.legend(fontsize=7)


def _line(axes: Axes, table: Table, column: str, label: str, marker: str = "") -> None:
    axes.plot(table["step"], table[column], color=BETTER, linewidth=1.2, marker=marker)
    axes.set_xlabel("step")
    axes.set_ylabel(label)


def _closeups(closeups: Sequence[Closeup]) -> Figure:
    """A row an image, a column a version; squares are drawn pixel by pixel."""
    versions = list(dict.fromkeys(version for one in closeups for version in one.squares))
    figure = Figure(figsize=(1.35 * len(versions), 1.4 * len(closeups)))
    for row, one in enumerate(closeups):
        for column, version in enumerate(versions):
            axes = figure.add_subplot(len(closeups), len(versions), row * len(versions) + column + 1)
            axes.set_axis_off()
            if version in one.squares:
                axes.imshow(one.squares[version], interpolation="nearest")
            if column == 0:
                why = one.why.replace(", ", ",\n").replace("contradict ", "contradict\n")
                axes.text(-0.06, 0.5, why, transform=axes.transAxes, ha="right", va="center", fontsize=7, rotation=90)
            if row == 0:
                axes.set_title(version, fontsize=7)
    figure.subplots_adjust(wspace=0.04, hspace=0.04)
    return figure
