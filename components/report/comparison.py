"""Tables of base, aligned and peers, of reports/evaluation.json. Pure."""

from dataclasses import dataclass

from markupsafe import Markup

from components.artifacts.evaluation import Comparison, Difference, Evaluation
from components.pages.charts import ForestScale, differences, fixed

STYLES = {"better": "better", "worse": "worse"}


@dataclass(frozen=True)
class MetricRow:
    """A metric in the table of differences; texts are ready to print."""

    name: str
    arrow: str
    role: str
    base: str
    aligned: str
    difference: str
    interval: str
    forest: Markup
    verdict: str
    style: str


@dataclass(frozen=True)
class MetricTable:
    """The reward, then rewarded metrics, then held-out ones, and the axis of their intervals."""

    rows: list[MetricRow]
    axis: Markup


def metric_table(compared: Comparison) -> MetricTable:
    """Differences with intervals; the drawings are in units of the base's standard deviation, right is better."""
    figures = compared.measures
    ordered = sorted(figures, key=lambda name: (name != "reward", not figures[name].in_reward))
    drawn = {name: _in_deviations(figures[name]) for name in ordered}
    scale = ForestScale.around([(low, high) for _, low, high in drawn.values()])
    return MetricTable([_row(name, figures[name], drawn[name], scale) for name in ordered], scale.axis())


def _in_deviations(row: Difference) -> tuple[float, float, float]:
    """Centre, low and high of the difference over the base's deviation, turned so that positive is better."""
    unit = row.spread or 1.0
    centre, low, high = row.difference / unit, row.ci_low / unit, row.ci_high / unit
    return (centre, low, high) if row.higher_is_better else (-centre, -high, -low)


def _row(name: str, row: Difference, drawn: tuple[float, float, float], scale: ForestScale) -> MetricRow:
    like = max(abs(row.base), abs(row.aligned))
    style = STYLES.get(row.verdict, "unchanged")
    difference, low, high = differences(row.difference, row.ci_low, row.ci_high)
    interval = f"{low} … {high}"
    return MetricRow(
        name,
        "↑" if row.higher_is_better else "↓",
        "the reward" if name == "reward" else "in reward" if row.in_reward else "held out",
        fixed(row.base, like),
        fixed(row.aligned, like),
        difference,
        interval,
        scale.cell(*drawn, style, f"{name}: {row.verdict}, {interval}"),
        row.verdict,
        style,
    )


@dataclass(frozen=True)
class PeerRow:
    """A model in the table of means; `best` marks the best value of each column."""

    name: str
    values: list[str]
    best: list[bool]


def peer_table(evaluation: Evaluation) -> tuple[list[str], list[PeerRow]]:
    """Column headings and a row a model: base, aligned, peers."""
    figures = evaluation.measures
    models = {
        "base": {name: row.base for name, row in figures.items()},
        "aligned": {name: row.aligned for name, row in figures.items()},
        **evaluation.peers,
    }
    headings = [f"{name} {'↑' if row.higher_is_better else '↓'}" for name, row in figures.items()]
    best = {}
    for name, row in figures.items():
        values = [model[name] for model in models.values() if name in model]
        best[name] = max(values) if row.higher_is_better else min(values)
    rows = []
    for label, means in models.items():
        texts = [fixed(means[name]) if name in means else "–" for name in figures]
        rows.append(PeerRow(label, texts, [means.get(name) == best[name] for name in figures]))
    return headings, rows


@dataclass(frozen=True)
class ControlRow:
    """One measure of aligned against a control, as text."""

    control: str
    value: str
    measure: str
    before: str
    after: str
    difference: str
    interval: str
    verdict: str


def control_table(evaluation: Evaluation) -> list[ControlRow]:
    """A row a control and measure: the reward first, then every metric."""
    rows = []
    for control, found in evaluation.controls.items():
        for place, (name, row) in enumerate(found.measures.items()):
            rows.append(
                ControlRow(
                    control if place == 0 else "",
                    f"{found.value:g}" if place == 0 else "",
                    name,
                    fixed(row.control),
                    fixed(row.aligned),
                    fixed(row.difference, signed=True),
                    f"{fixed(row.ci_low, signed=True)} … {fixed(row.ci_high, signed=True)}",
                    row.verdict,
                )
            )
    return rows
