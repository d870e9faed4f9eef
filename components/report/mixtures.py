"""Mixtures of base and aligned: curves of fidelity against what was gained, and their table. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from components.artifacts.evaluation import Evaluation, Mixture, MixtureMeasure
from components.pages.charts import Chart, Point, Series, differences, short
from components.report.verdict import DISTORTION

AGAINST = "Differences from the base, with intervals over photos."


@dataclass(frozen=True)
class MixtureRow:
    """A mixture in the table; `cells` has the difference and the interval of each measure, ready to print."""

    name: str
    passes: int
    cells: list[tuple[str, str]]


@dataclass(frozen=True)
class Mixtures:
    """All that the page says of them: curves, headings of the measures, and a row a mixture; empty without any."""

    charts: list[Chart]
    headings: list[str]
    rows: list[MixtureRow]

    @classmethod
    def of(cls, evaluation: Evaluation) -> "Mixtures":
        """Those of a document."""
        headings, rows = _table(evaluation)
        return cls(_charts(evaluation), headings, rows)


def _charts(evaluation: Evaluation) -> list[Chart]:
    """The reward, and each held-out metric of perception, over the first held-out metric of fidelity."""
    mixtures = evaluation.mixtures
    fidelity = next((name for name in DISTORTION if name in evaluation.held_out), None)
    if not mixtures or fidelity is None:
        return []
    judges = [name for name in evaluation.held_out if name not in DISTORTION]
    measures = evaluation.measures
    return [_curve(mixtures, fidelity, name, measures[name].higher_is_better) for name in ("reward", *judges)]


def _curve(mixtures: Mapping[str, Mixture], fidelity: str, name: str, higher_is_better: bool) -> Chart:
    dialled = sorted(
        (mixture for mixture in mixtures.values() if mixture.preference is not None),
        key=lambda mixture: (mixture.preference or 0.0, mixture.strength, mixture.power, mixture.start),
    )
    untold = [mixture for mixture in mixtures.values() if mixture.preference is None]
    constant = sorted(
        (mixture for mixture in untold if not (mixture.power or mixture.start)),
        key=lambda mixture: mixture.strength,
    )
    annealed = sorted(
        (mixture for mixture in untold if mixture.power or mixture.start),
        key=lambda mixture: (mixture.power, mixture.start, mixture.strength),
    )
    lines = [
        _line("strength", "aligned", [(f"{mixture.strength:g}", mixture) for mixture in constant], fidelity, name),
        _line("annealed", "winner", [(_annealing(mixture), mixture) for mixture in annealed], fidelity, name),
        _line("preference", "loser", [(f"{mixture.preference:g}", mixture) for mixture in dialled], fidelity, name),
    ]
    side = "higher" if higher_is_better else "lower"
    return Chart(
        f"{name} against {fidelity}",
        f"{AGAINST} {fidelity} is better to the right, {name} where it is {side}.",
        f"{fidelity}, difference",
        [line for line in lines if line.points],
        baseline=(0.0, "base"),
    )


def _annealing(mixture: Mixture) -> str:
    told = [f"p {mixture.power:g}" if mixture.power else "", f"from {mixture.start:g}" if mixture.start else ""]
    return " ".join(text for text in told if text)


def _line(label: str, style: str, mixtures: list[tuple[str, Mixture]], fidelity: str, name: str) -> Series:
    known = [(text, mixture.measures) for text, mixture in mixtures if {fidelity, name} <= mixture.measures.keys()]
    marks = [Point(_extent(measures[fidelity]), _extent(measures[name]), text) for text, measures in known]
    return Series(label, style, [(mark.x[1], mark.y[1]) for mark in marks], marks=marks)


def _extent(row: MixtureMeasure) -> tuple[float, float, float]:
    return row.ci_low, row.difference, row.ci_high


def _table(evaluation: Evaluation) -> tuple[list[str], list[MixtureRow]]:
    figures = evaluation.measures
    names = sorted(figures, key=lambda name: (name != "reward", figures[name].in_reward))
    headings = [f"{name} {'↑' if figures[name].higher_is_better else '↓'}" for name in names]
    rows = []
    for label, mixture in evaluation.mixtures.items():
        cells = [("–", "")] * len(names)
        for place, name in enumerate(names):
            if name in mixture.measures:
                row = mixture.measures[name]
                difference, low, high = differences(row.difference, row.ci_low, row.ci_high)
                same = row.ci_low == row.ci_high == 0.0  # the base itself
                cells[place] = (short(0.0), "") if same else (difference, f"{low} … {high}")
        rows.append(MixtureRow(label, mixture.passes, cells))
    return headings, rows
