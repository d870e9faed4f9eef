"""Two distributions in one drawing: inline SVG whose colours come from the page's style sheet. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

WIDTH, HEIGHT = 420, 200
LEFT, RIGHT, TOP, BOTTOM = 40, 14, 12, 40
BARS = 24


def histogram(title: str, about: str, before: Sequence[float], after: Sequence[float]) -> Markup:
    """Both samples as fractions over one axis: `before` filled, `after` as an outline.

    Values that are not finite are left out; the ends of the axis are the outermost hundredths of both samples
    together, and what lies beyond is counted in the last bars.
    """
    filled, outlined = _finite(before), _finite(after)
    both = np.concatenate([filled, outlined])
    if not len(both):
        return Markup(f'<p class="empty">{escape(title)}: no values</p>')
    low, high = (float(value) for value in np.quantile(both, (0.01, 0.99)))
    if high <= low:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, BARS + 1)
    bars = [_bars(values, edges) for values in (filled, outlined)]
    top = max(float(bars[0].max()), float(bars[1].max()), 1e-9)
    wide, tall = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def x(index: float) -> float:
        return LEFT + wide * index / BARS

    def y(fraction: float) -> float:
        return TOP + tall * (1 - fraction / top)

    parts = [
        f'<rect class="before" x="{x(index) + 0.5:.1f}" y="{y(part):.1f}" width="{wide / BARS - 1:.1f}" '
        f'height="{tall * part / top:.1f}"/>'
        for index, part in enumerate(bars[0])
        if part
    ]
    if len(outlined):
        outline = [f"{x(0):.1f},{y(0):.1f}"]
        for index, part in enumerate(bars[1]):
            outline += [f"{x(index):.1f},{y(part):.1f}", f"{x(index + 1):.1f},{y(part):.1f}"]
        outline.append(f"{x(BARS):.1f},{y(0):.1f}")
        parts.append(f'<polyline class="after" points="{" ".join(outline)}"/>')
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(0)}" y2="{y(0)}"/>')
    for index in range(5):
        value = low + (high - low) * index / 4
        at = LEFT + wide * index / 4
        anchor = "end" if index == 4 else "middle"
        parts.append(f'<text class="tick" x="{at:.1f}" y="{y(0) + 14:.1f}" text-anchor="{anchor}">{value:.3g}</text>')
    parts.append(f'<text class="tick" x="{LEFT - 5}" y="{TOP + 8}" text-anchor="end">{top:.0%}</text>')
    label = escape(about)
    parts.append(f'<text class="label" x="{LEFT + wide / 2:.1f}" y="{HEIGHT - 6}" text-anchor="middle">{label}</text>')
    head = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
    return Markup(f"{head}<title>{escape(title)}</title>{''.join(parts)}</svg>")


def _finite(values: Sequence[float]) -> NDArray[np.float64]:
    array = np.asarray(values, np.float64)
    return array[np.isfinite(array)]


def _bars(values: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    counts, _ = np.histogram(values.clip(edges[0], edges[-1]), edges)
    fractions: NDArray[np.float64] = counts / max(len(values), 1)
    return fractions
