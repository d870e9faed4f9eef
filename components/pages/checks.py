"""A verdict, rows of checks, and histograms as one self-contained page; the monitor's is the same. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup


@dataclass(frozen=True)
class Row:
    """One check: `style` is good, bad or unsure."""

    name: str
    value: str
    limit: str
    verdict: str
    style: str
    reason: str


@dataclass(frozen=True)
class Drawing:
    """A histogram with its heading."""

    title: str
    svg: Markup


@dataclass(frozen=True)
class Page:
    """`legend` names the filled and the outlined distribution."""

    title: str
    verdict: str
    style: str
    lines: Sequence[str]
    rows: Sequence[Row]
    drawings: Sequence[Drawing]
    legend: tuple[str, str]
    facts: Sequence[tuple[str, str]]


_TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ page.title }}</title>
<style>
:root { color-scheme: light dark; --ink: light-dark(#1c2330, #e6e9ef); --faint: light-dark(#667085, #98a2b3);
  --line: light-dark(#d9dee7, #343b48); --ground: light-dark(#fff, #14181f); --fill: light-dark(#b9c4d6, #46536a);
  --new: light-dark(#b4451f, #ff9a6b); --good: light-dark(#1f7a45, #6fcf97); --bad: light-dark(#b42318, #ff8a80);
  --unsure: light-dark(#8a5a00, #f2c14e); }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--ground); margin: 0 auto; padding:
24px;
  max-width: 960px; }
h1 { font-size: 22px; margin: 0 0 4px; } h2 { font-size: 17px; margin: 32px 0 8px; }
.verdict { font-size: 18px; font-weight: 600; margin: 8px 0; }
.good { color: var(--good); } .bad { color: var(--bad); } .unsure { color: var(--unsure); }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; padding: 6px 10px 6px 0; vertical-align:
top;
  border-bottom: 1px solid var(--line); } th { color: var(--faint); font-weight: 500; font-size: 13px; }
td.number { font-variant-numeric: tabular-nums; white-space: nowrap; }
.drawings { display: grid; grid-template-columns: repeat(auto-fit, minmax(380px, 1fr)); gap: 20px; }
@media (max-width: 460px) { .drawings { grid-template-columns: 1fr; } }
figure { margin: 0; } figcaption { font-weight: 600; } svg { width: 100%; height: auto; }
svg .before { fill: var(--fill); } svg .after { fill: none; stroke: var(--new); stroke-width: 2; }
svg .axis { stroke: var(--faint); } svg text { fill: var(--faint); font-size: 11px; }
.key { color: var(--faint); } .swatch { display: inline-block; width: 14px; height: 10px; margin: 0 4px 0 12px; }
.swatch.before { background: var(--fill); } .swatch.after { border: 2px solid var(--new); height: 6px; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 16px; } dt { color: var(--faint); } dd { margin: 0;
  overflow-wrap: anywhere; }
</style>
</head>
<body>
<h1>{{ page.title }}</h1>
<p class="verdict {{ page.style }}">{{ page.verdict }}</p>
{% if page.lines %}<ul>{% for line in page.lines %}<li>{{ line }}</li>{% endfor %}</ul>{% endif %}
{% if page.rows %}
<h2>Checks</h2>
<table>
<thead><tr><th>check</th><th>value</th><th>limit</th><th>verdict</th><th>why</th></tr></thead>
<tbody>
{% for row in page.rows %}<tr><td>{{ row.name }}</td><td class="number">{{ row.value }}</td>
<td class="number">{{ row.limit }}</td><td class="{{ row.style }}">{{ row.verdict }}</td><td>{{ row.reason }}</td></tr>
{% endfor %}</tbody>
</table>
{% endif %}
{% if page.drawings %}
<h2>Distributions</h2>
<p class="key"><span class="swatch before"></span>{{ page.legend[0] }}
<span class="swatch after"></span>{{ page.legend[1] }}
(fraction of each)</p>
<div class="drawings">
{% for drawing in page.drawings %}<figure><figcaption>{{ drawing.title }}</figcaption>{{ drawing.svg }}</figure>
{% endfor %}</div>
{% endif %}
<h2>What was compared</h2>
<dl>{% for name, value in page.facts %}<dt>{{ name }}</dt><dd>{{ value }}</dd>{% endfor %}</dl>
</body>
</html>
"""


def html(page: Page) -> str:
    """One document with style and drawings inside; it asks for nothing else."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_TEMPLATE).render(page=page)
