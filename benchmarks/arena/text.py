"""The arena's tables in markdown, for docs/arena.md. Pure."""

import re

from benchmarks.arena.results import Difference, Entry, Results

START, END = "<!-- figures: arena -->", "<!-- end of figures -->"


def number(value: float, digits: int = 4) -> str:
    """Signed, with the minus that is as wide as the plus."""
    return f"{value:+.{digits}f}".replace("-", "−")


def cell(one: Difference, digits: int = 4) -> str:
    """A difference with its interval; bold where it is significant after the adjustment."""
    text = f"{number(one.mean, digits)} [{number(one.ci_low, digits)}, {number(one.ci_high, digits)}]"
    return f"**{text}**" if one.significant else text


def unseen(one: Difference, digits: int = 4) -> str:
    """What stands beside a "no difference": the smallest effect that would have been seen, and the bound."""
    return "" if one.significant else f"{one.detectable:.{digits}f} (below {one.bound:.{digits}f})"


def decimals(values: list[float]) -> int:
    """Digits that show differences of this size: two of the smallest interval's."""
    widest = max((abs(value) for value in values), default=0.0)
    return 4 if widest < 0.5 else 3 if widest < 5.0 else 2


def tables(results: Results) -> str:
    """All tables, one for each of the recipe's headings."""
    shown = [name for name in results.higher_is_better if name != "reward"]
    state = "" if results.complete else " **Not complete: what is missing is still to be trained.**"
    lines = [
        f"{results.images} test images of {results.photos} photos, {results.restorations} restorations a training; "
        f"{results.passes} network passes a composition; judged: the {results.checkpoint} checkpoint. Base reward "
        f"{results.base['reward']:.4f}. Differences from the base with {results.confidence:.0%} intervals over photos "
        f"and training seeds; bold: p below {1 - results.confidence:.2g} after {results.multiple}.{state}"
    ]
    headings = dict.fromkeys(one.table for one in results.compositions.values())
    for heading in headings:
        own = {name: one for name, one in results.compositions.items() if one.table == heading}
        lines += ["", f"### {heading}", "", *_first(results, own), "", *_figures(results, own, shown)]
    lines += ["", f"**Best** by the rule ({results.rule}): {results.best or 'none leads the base within the limits'}."]
    return "\n".join(lines) + "\n"


def _first(results: Results, own: dict[str, Entry]) -> list[str]:
    rows = [
        f"| composition | reward | each seed | could have seen | wins | over {results.standard} | could have seen | "
        "learning rate | steps | beyond limits |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, one in own.items():
        reward, over = one.differences["reward"], one.over_standard
        seeds = ", ".join(number(value, 3) for value in one.each_seed.values())
        if one.diverged:
            seeds += f"; {len(one.diverged)} diverged"
        steps = "–".join(str(value) for value in sorted({min(one.steps), max(one.steps)}))
        rows.append(
            f"| {name} | {cell(reward)} | {seeds} | {unseen(reward)} | {one.win_rate.mean:.0%} | "
            f"{cell(over) if over else ''} | {unseen(over) if over else ''} | {one.learning_rate:.2g} | {steps} | "
            f"{', '.join(one.broken) or 'none'} |"
        )
    return rows


def _figures(results: Results, own: dict[str, Entry], shown: list[str]) -> list[str]:
    arrows = [f"{name} {'↑' if results.higher_is_better[name] else '↓'}" for name in shown]
    rows = ["| composition | " + " | ".join(arrows) + " |", "|---|" + "---|" * len(shown)]
    digits = {
        name: decimals([end for one in own.values() if name in one.differences for end in _ends(one.differences[name])])
        for name in shown
    }
    for name, one in own.items():
        cells = [cell(one.differences[key], digits[key]) if key in one.differences else "" for key in shown]
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    return rows


def _ends(one: Difference) -> tuple[float, float]:
    return one.ci_low, one.ci_high


def within(page: str, text: str) -> str:
    """A page with `text` between its markers.

    Raises:
        ValueError: it has none.
    """
    if START not in page or END not in page:
        raise ValueError(f"it lacks the lines {START} and {END}, between which the tables go")
    pattern = re.compile(f"{re.escape(START)}.*{re.escape(END)}", re.DOTALL)
    return pattern.sub(lambda _: f"{START}\n{text}{END}", page)
