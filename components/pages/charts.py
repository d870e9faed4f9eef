"""Charts as inline SVG; colours come from the page's style sheet, so that they follow light and dark mode. Pure."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH, HEIGHT = 420, 240
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 12, 38
"""A chart's size and margins in its own units; it is drawn at about this size in px, so that its text is readable."""

SMOOTHED_FROM = 40
"""From this many points on, a running mean is drawn over the faint points."""


@dataclass(frozen=True)
class Point:
    """A point that is labelled, with its intervals: low, centre and high of both axes."""

    x: tuple[float, float, float]
    y: tuple[float, float, float]
    label: str


@dataclass(frozen=True)
class Series:
    """Points of one line, in the order in which it is drawn. `style` is its class in the style sheet.

    `marks`: the same points with their intervals and labels, where they have any.
    """

    name: str
    style: str
    points: Sequence[tuple[float, float]]
    smooth: bool = False
    marks: Sequence[Point] = ()


@dataclass(frozen=True)
class Chart:
    """A line chart, its heading and the sentence that says what to look for.

    `baseline`: a labelled horizontal line; `mark`: a labelled x; `log_x`: base-2 logarithmic x.
    """

    title: str
    note: str
    x_label: str
    series: Sequence[Series]
    baseline: tuple[float, str] | None = None
    mark: tuple[float, str] | None = None
    log_x: bool = False

    @property
    def svg(self) -> Markup:
        """The drawing."""
        return _draw(self)

    @property
    def drawn(self) -> list[Series]:
        """Series that have points, smoothed where they ask for it."""
        return [_smoothed(series) for series in self.series if series.points]

    @property
    def points_json(self) -> str:
        """What the page's script shows under the pointer: the plot's frame in pixels, and each line's points."""
        frame = _Frame.around(self)
        lines = [
            {
                "name": series.name,
                "style": series.style,
                "points": [[round(frame.x(x), 1), round(frame.y(y), 1), short(x), short(y)] for x, y in series.points],
            }
            for series in self.drawn
        ]
        return json.dumps({"x": self.x_label, "lines": lines}, separators=(",", ":"))


def short(value: float) -> str:
    """A number for people: four significant digits, no trailing zeros."""
    text = f"{value:.4g}"
    return text.replace("-", "−").replace("e−0", "e−").replace("e+0", "e+")


def fixed(value: float, like: float | None = None, signed: bool = False) -> str:
    """A number with as many decimals as its size (or that of `like`) calls for: 4 below 1, 3 below 10, else 2."""
    size = abs(value if like is None else like)
    return _with_decimals(value, 4 if size < 1 else 3 if size < 10 else 2, signed)


def differences(*values: float) -> list[str]:
    """Signed numbers that belong together: as many decimals (2 to 6) as give the smallest of them two digits."""
    smallest = min((abs(value) for value in values if value), default=1.0)
    decimals = min(6, max(2, 1 - math.floor(math.log10(smallest))))
    return [_with_decimals(value, decimals, signed=True) for value in values]


def _with_decimals(value: float, decimals: int, signed: bool) -> str:
    return f"{value:{'+' if signed else ''}.{decimals}f}".replace("-", "−")


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round values (1, 2 or 5 times a power of ten apart) that lie within [low, high]."""
    if not high > low:
        return [low]
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= raw * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


@dataclass(frozen=True)
class _Frame:
    """From data to the chart's units."""

    x_low: float
    x_high: float
    y_low: float
    y_high: float
    log_x: bool

    @classmethod
    def around(cls, chart: Chart) -> "_Frame":
        points = [point for series in chart.series for point in series.points]
        if not points:
            raise ValueError(f"chart {chart.title!r} has no points")
        marks = [mark for series in chart.series for mark in series.marks]
        xs = [x for x, _ in points] + [end for mark in marks for end in mark.x]
        ys = [y for _, y in points] + [end for mark in marks for end in mark.y]
        if chart.baseline:
            ys.append(chart.baseline[0])
        margin = 0.06 * (max(ys) - min(ys)) or max(0.05 * abs(max(ys)), 1e-6)
        return cls(min(xs), max(xs), min(ys) - margin, max(ys) + margin, chart.log_x)

    def x(self, value: float) -> float:
        low, high, at = self.x_low, self.x_high, value
        if self.log_x:
            low, high, at = math.log2(low), math.log2(high), math.log2(at)
        share = (at - low) / (high - low) if high > low else 0.5
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - (value - self.y_low) / (self.y_high - self.y_low) * (HEIGHT - TOP - BOTTOM)

    def x_ticks(self) -> list[float]:
        if self.log_x:
            low, high = round(math.log2(self.x_low)), math.floor(math.log2(self.x_high) + 1e-9)
            return [2.0**power for power in range(low, high + 1)]
        return ticks(self.x_low, self.x_high)


def _smoothed(series: Series) -> Series:
    window = len(series.points) // 20
    if not series.smooth or len(series.points) < SMOOTHED_FROM:
        return series
    ys = [y for _, y in series.points]
    means = []
    for place, (x, _) in enumerate(series.points):
        near = ys[max(0, place - window) : place + window + 1]
        means.append((x, sum(near) / len(near)))
    return Series(series.name, series.style, means)


def _draw(chart: Chart) -> Markup:
    frame = _Frame.around(chart)
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    parts = []
    for value in ticks(frame.y_low, frame.y_high):
        y = frame.y(value)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{short(value)}</text>')
    for value in frame.x_ticks():
        x = frame.x(value)
        parts.append(f'<text class="tick" x="{x:.1f}" y="{bottom + 15}" text-anchor="middle">{short(value)}</text>')
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/>')
    middle = (LEFT + right) / 2
    parts.append(
        f'<text class="label" x="{middle:.1f}" y="{HEIGHT - 5}" text-anchor="middle">{escape(chart.x_label)}</text>'
    )
    if chart.baseline:
        value, label = chart.baseline
        y = frame.y(value)
        parts.append(f'<line class="baseline" x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="note" x="{right}" y="{y - 4:.1f}" text-anchor="end">{escape(label)}</text>')
    if chart.mark:
        value, label = chart.mark
        x = frame.x(value)
        anchor = "end" if x > middle else "start"
        at = x - 5 if x > middle else x + 5
        parts.append(f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{bottom}"/>')
        parts.append(f'<text class="note" x="{at:.1f}" y="{TOP + 9}" text-anchor="{anchor}">{escape(label)}</text>')
    for series, drawn in zip([s for s in chart.series if s.points], chart.drawn, strict=True):
        if drawn is not series:
            parts.append(_polyline(frame, series, "raw"))
        parts.append(_polyline(frame, drawn, "line"))
        parts += [_mark(frame, mark, series.style) for mark in series.marks]
    title = escape(chart.title)
    head = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}"><title>{title}</title>'
    return Markup(f"{head}{''.join(parts)}</svg>")


def _polyline(frame: _Frame, series: Series, role: str) -> str:
    points = " ".join(f"{frame.x(x):.1f},{frame.y(y):.1f}" for x, y in series.points)
    line = f'<polyline class="{role} {series.style}" points="{points}"/>'
    if len(series.points) > 12 or role == "raw":
        return line
    dots = (
        f'<circle class="dot {series.style}" cx="{frame.x(x):.1f}" cy="{frame.y(y):.1f}" r="3"/>'
        for x, y in series.points
    )
    return line + "".join(dots)


def _mark(frame: _Frame, mark: Point, style: str) -> str:
    (left, x, right), (low, y, high) = map(frame.x, mark.x), map(frame.y, mark.y)
    line = f'<line class="interval {style}"'
    return (
        f'{line} x1="{left:.1f}" x2="{right:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'{line} x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}"/>'
        f'<text class="note" x="{x + 6:.1f}" y="{y - 5:.1f}">{escape(mark.label)}</text>'
    )


@dataclass(frozen=True)
class ForestScale:
    """A shared horizontal scale for intervals drawn in table cells, symmetric around zero."""

    reach: float

    WIDTH = 200
    HEIGHT = 26

    @classmethod
    def around(cls, intervals: Sequence[tuple[float, float]]) -> "ForestScale":
        """Wide enough for all `(low, high)`, rounded up to a tick."""
        widest = max((abs(end) for interval in intervals for end in interval), default=0.0) or 1.0
        step = ticks(0.0, widest, 3)
        gap = step[1] - step[0] if len(step) > 1 else widest
        return cls(math.ceil(widest / gap - 1e-9) * gap)

    def x(self, value: float) -> float:
        """Position of a value."""
        return self.WIDTH / 2 * (1 + 0.84 * value / self.reach)

    def cell(self, centre: float, low: float, high: float, style: str, label: str) -> Markup:
        """One interval with its centre; right of the middle line is better."""
        middle = self.HEIGHT / 2
        left, right = self.x(low), self.x(high)
        return Markup(
            f'<svg class="forest" viewBox="0 0 {self.WIDTH} {self.HEIGHT}" role="img" aria-label="{escape(label)}">'
            f'<line class="zero" x1="{self.x(0)}" x2="{self.x(0)}" y1="0" y2="{self.HEIGHT}"/>'
            f'<line class="interval {style}" x1="{left:.1f}" x2="{right:.1f}" y1="{middle}" y2="{middle}"/>'
            f'<circle class="centre {style}" cx="{self.x(centre):.1f}" cy="{middle}" r="4.5"/></svg>'
        )

    def axis(self) -> Markup:
        """The scale itself, for the table's foot."""
        labels = "".join(
            f'<text class="tick" x="{self.x(value):.1f}" y="12" text-anchor="middle">{short(value)}</text>'
            for value in ticks(-self.reach, self.reach, 3)
        )
        return Markup(f'<svg class="forest" viewBox="0 0 {self.WIDTH} 18" aria-hidden="true">{labels}</svg>')
