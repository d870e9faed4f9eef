"""Fidelity against perception: one point a composition, with its intervals. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from benchmarks.arena.results import Difference, Results
from benchmarks.arena.text import number
from components.pages.charts import short, ticks

WIDTH, HEIGHT = 760, 420
LEFT, RIGHT, TOP, BOTTOM = 64, 20, 24, 44


@dataclass(frozen=True)
class Span:
    """An interval with its mean, turned so that higher is better."""

    low: float
    mean: float
    high: float

    @classmethod
    def of(cls, one: Difference, higher_is_better: bool) -> "Span":
        """Of a metric's difference."""
        if higher_is_better:
            return cls(one.ci_low, one.mean, one.ci_high)
        return cls(-one.ci_high, -one.mean, -one.ci_low)


@dataclass(frozen=True)
class Scale:
    """From data to the picture's units."""

    low: float
    high: float
    start: float
    end: float

    @classmethod
    def around(cls, values: Sequence[float], start: float, end: float) -> "Scale":
        """One on which all values have room."""
        room = 0.06 * (max(values) - min(values)) or 1e-6
        return cls(min(values) - room, max(values) + room, start, end)

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def pareto(results: Results) -> Markup:
    """Differences from the base, which is where the axes cross; up and right is better."""
    axes = (results.fidelity, results.perception)
    better = [results.higher_is_better[name] for name in axes]
    spots = {
        name: (Span.of(one.differences[axes[0]], better[0]), Span.of(one.differences[axes[1]], better[1]))
        for name, one in results.compositions.items()
        if set(axes) <= set(one.differences)
    }
    ends = [[0.0, *(end for both in spots.values() for end in (both[at].low, both[at].high))] for at in (0, 1)]
    x, y = Scale.around(ends[0], LEFT, WIDTH - RIGHT), Scale.around(ends[1], HEIGHT - BOTTOM, TOP)
    turned = ["" if up else ", turned" for up in better]
    labels = [f"{name}, difference from the base{how}" for name, how in zip(axes, turned, strict=True)]
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(" against ".join(axes))}">']
    parts += _frame(x, y, labels)
    for name, (across, up) in spots.items():
        style = "winner" if name == results.best else "aligned" if name == results.standard else "base"
        parts.append(_spot(name, across, up, x, y, style))
    return Markup("".join(parts) + "</svg>")


def _frame(x: Scale, y: Scale, labels: Sequence[str]) -> list[str]:
    floor, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = [
        f'<line class="axis" x1="{x(0):.1f}" x2="{x(0):.1f}" y1="{TOP}" y2="{floor}"/>',
        f'<line class="axis" x1="{LEFT}" x2="{right}" y1="{y(0):.1f}" y2="{y(0):.1f}"/>',
        f'<text class="label" x="{WIDTH / 2}" y="{HEIGHT - 8}" text-anchor="middle">{escape(labels[0])} →</text>',
        f'<text class="label" x="{LEFT}" y="14">↑ {escape(labels[1])}</text>',
    ]
    for value in ticks(x.low, x.high):
        at = f'x="{x(value):.1f}" y="{floor + 16}" text-anchor="middle"'
        parts.append(f'<text class="tick" {at}>{short(value)}</text>')
    for value in ticks(y.low, y.high):
        at = f'x="{LEFT - 8}" y="{y(value) + 4:.1f}" text-anchor="end"'
        parts.append(f'<text class="tick" {at}>{short(value)}</text>')
    return parts


def _spot(name: str, across: Span, up: Span, x: Scale, y: Scale, style: str) -> str:
    at_x, at_y = x(across.mean), y(up.mean)
    return (
        f'<g class="spot {style}"><title>{escape(name)}: {number(across.mean)}, {number(up.mean)}</title>'
        f'<line x1="{x(across.low):.1f}" x2="{x(across.high):.1f}" y1="{at_y:.1f}" y2="{at_y:.1f}"/>'
        f'<line x1="{at_x:.1f}" x2="{at_x:.1f}" y1="{y(up.low):.1f}" y2="{y(up.high):.1f}"/>'
        f'<circle cx="{at_x:.1f}" cy="{at_y:.1f}" r="4.5"/>'
        f'<text class="tick" x="{at_x + 7:.1f}" y="{at_y - 6:.1f}">{escape(name)}</text></g>'
    )
