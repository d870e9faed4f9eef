"""The sentence a reader sees first, and the figures behind it, of reports/evaluation.json. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from components.report.charts import fixed


@dataclass(frozen=True)
class Verdict:
    """`tone`: good, mixed, bad or neutral; `title` in a few words, `text` in one or two sentences."""

    tone: str
    title: str
    text: str


def judge(evaluation: Mapping[str, Any]) -> Verdict:
    """Better only if the reward rose significantly and no held-out metric fell significantly."""
    reward, won = evaluation["reward"], evaluation["win_rate"]
    held_out = {name: row for name, row in evaluation["metrics"].items() if not row["in_reward"]}
    worse = [name for name, row in held_out.items() if row["verdict"] == "worse"]
    better = [name for name, row in held_out.items() if row["verdict"] == "better"]
    confidence = (
        f"{evaluation['confidence']:.0%} CI {fixed(reward['ci_low'], 0, True)} to {fixed(reward['ci_high'], 0, True)}"
    )
    figures = (
        f"Reward {fixed(reward['base'], 0)} → {fixed(reward['aligned'], 0)} "
        f"({fixed(reward['difference'], 0, True)}, {confidence}); "
        f"the aligned model wins {won['value']:.0%} of {evaluation['pairs']} paired restorations."
    )
    if reward["verdict"] == "better" and not worse:
        beside = f" Held-out metrics: {_list(better)} significantly better, none worse." if better else ""
        beside = beside or " No held-out metric changed significantly."
        return Verdict("good", "Aligned is better than base.", figures + beside)
    if reward["verdict"] == "better":
        also = f" {_list(better)} got better." if better else ""
        return Verdict(
            "mixed",
            "The reward rose, but not everything did.",
            f"{figures} Held out of the reward, {_list(worse)} got significantly worse.{also}",
        )
    if reward["verdict"] == "worse":
        return Verdict("bad", "Aligned is worse than base.", figures)
    also = f" Held out of the reward, {_list(worse)} got significantly worse." if worse else ""
    return Verdict("neutral", "No significant change.", f"{figures} The interval includes zero.{also}")


def _list(names: list[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


@dataclass(frozen=True)
class Figure:
    """A headline number with what it is and, below it, how sure or out of what."""

    label: str
    value: str
    detail: str
    tone: str = "neutral"


def key_figures(evaluation: Mapping[str, Any]) -> list[Figure]:
    """Four numbers: reward, win rate, the floor (worst of K), and how many held-out metrics moved which way."""
    reward, won = evaluation["reward"], evaluation["win_rate"]
    samples = list(evaluation["best_mean_worst"]["base"])[-1]
    before = evaluation["best_mean_worst"]["base"][samples]["worst"]
    after = evaluation["best_mean_worst"]["aligned"][samples]["worst"]
    verdicts = [row["verdict"] for row in evaluation["metrics"].values() if not row["in_reward"]]
    counts = {name: verdicts.count(name) for name in ("better", "no significant change", "worse")}
    tones = {"better": "good", "worse": "bad"}
    return [
        Figure(
            "Reward, base → aligned",
            fixed(reward["difference"], 0, True),
            f"{fixed(reward['ci_low'], 0, True)} to {fixed(reward['ci_high'], 0, True)} "
            f"({evaluation['confidence']:.0%} CI)",
            tones.get(reward["verdict"], "neutral"),
        ),
        Figure(
            "Win rate",
            f"{won['value']:.0%}",
            f"{won['ci_low']:.0%} to {won['ci_high']:.0%}, of {evaluation['pairs']} pairs with the same noise",
            "good" if won["ci_low"] > 0.5 else "bad" if won["ci_high"] < 0.5 else "neutral",
        ),
        Figure(
            f"Worst of {samples}",
            fixed(after - before, 0, True),
            f"{fixed(before, 0)} → {fixed(after, 0)}: the reward of an image's poorest restoration",
            "neutral",
        ),
        Figure(
            "Held-out metrics",
            f"{counts['better']} ↑ {counts['worse']} ↓",
            f"{counts['better']} significantly better, {counts['worse']} worse, "
            f"{counts['no significant change']} unchanged",
            "bad" if counts["worse"] else "good" if counts["better"] else "neutral",
        ),
    ]
