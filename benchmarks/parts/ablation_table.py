"""The ablation's tables in markdown. Pure."""

from typing import Any

from components.metrics.table import info

Tree = dict[str, Any]

STANDARD = "dp2o"
"""Name of the variant that the others are compared with."""


def table_text(title: str, results: Tree, base_reward: float, metrics: list[str]) -> str:
    """A markdown table of one group of variants."""
    arrows = [f"{name} {'↑' if info(name).higher_is_better else '↓'}" for name in metrics]
    lines = [
        f"### {title}",
        "",
        f"Base reward {base_reward:.4f}. Differences from the base, with intervals over photos and training seeds; "
        "the seeds' column has the reward difference of each training seed, the next one the paired difference of the "
        f"reward from {STANDARD}.",
        "",
        f"| variant | reward | seeds | reward over {STANDARD} | " + " | ".join(arrows) + " |",
        "|---|---|---|---|" + "---|" * len(metrics),
    ]
    for name, result in results.items():
        cells = [_cell(result["differences"]["reward"]), ", ".join(f"{value:+.4f}" for value in result["seeds"])]
        cells.append(_cell(result["over"][STANDARD]) if STANDARD in result["over"] else "")
        cells += [_cell(result["differences"][metric]) for metric in metrics]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(interval: Tree) -> str:
    return f"{interval['mean']:+.4f} [{interval['low']:+.4f}, {interval['high']:+.4f}]"
