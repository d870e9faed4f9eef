"""The sentence a reader sees first, and the figures behind it, of reports/evaluation.json. Pure."""

from dataclasses import dataclass

from components.artifacts.evaluation import Comparison, Evaluation
from components.pages.charts import fixed

DISTORTION = ("psnr", "psnr_y", "ssim", "ssim_y", "ms_ssim")
"""Metrics of pixel fidelity. Perceptual quality is bought with them (Blau and Michaeli, CVPR 2018; DP2O-SR reports the
same), so a fall is said, but does not turn the verdict."""


@dataclass(frozen=True)
class Verdict:
    """`tone`: good, mixed, bad or neutral; `title` in a few words, `text` in one or two sentences."""

    tone: str
    title: str
    text: str


def judge(evaluation: Evaluation) -> Verdict:
    """Better only if the reward rose significantly and no perceptual metric held out of it fell significantly."""
    reward, won, held_out = evaluation.reward, evaluation.win_rate, evaluation.held_out
    worse = [name for name, row in held_out.items() if row.verdict == "worse" and name not in DISTORTION]
    distorted = [name for name, row in held_out.items() if row.verdict == "worse" and name in DISTORTION]
    better = [name for name, row in held_out.items() if row.verdict == "better"]
    confidence = f"{evaluation.confidence:.0%} CI {fixed(reward.ci_low, 0, True)} to {fixed(reward.ci_high, 0, True)}"
    figures = (
        f"Reward {fixed(reward.base, 0)} → {fixed(reward.aligned, 0)} "
        f"({fixed(reward.difference, 0, True)}, {confidence}); "
        f"the aligned model wins {won.value:.0%} of {evaluation.pairs} paired restorations{_of_which(evaluation)}."
    )
    moved = [f"{_list(better)} got significantly better"] if better else []
    moved += [f"{_list(worse)} got significantly worse"] if worse else []
    moved += [f"{_list(distorted)}, which measure distortion, fell"] if distorted else []
    beside = f"Held out of the reward, {'; '.join(moved)}." if moved else "No held-out metric changed significantly."
    tone, title = {
        "better": ("mixed", "The reward rose, but a judge disagrees.") if worse else ("good", "Aligned beats base."),
        "worse": ("bad", "Aligned is worse than base."),
        "no significant change": ("neutral", "No significant change."),
    }[reward.verdict]
    return Verdict(tone, title, f"{figures} {beside}")


def _of_which(evaluation: Evaluation) -> str:
    """What the figures are of, where that has to be said."""
    if evaluation.without_hr is not None:
        return " of images with HR"
    return "" if evaluation.has_hr else " of images without HR"


def _list(names: list[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


@dataclass(frozen=True)
class Figure:
    """A headline number with what it is and, below it, how sure or out of what."""

    label: str
    value: str
    detail: str
    tone: str = "neutral"


def key_figures(evaluation: Comparison) -> list[Figure]:
    """Four numbers: reward, win rate, the floor (worst of K), and how many held-out metrics moved which way."""
    reward, won, spreads = evaluation.reward, evaluation.win_rate, evaluation.best_mean_worst
    samples = list(spreads.base)[-1]
    before, after = spreads.base[samples].worst, spreads.aligned[samples].worst
    held_out = {name: row.verdict for name, row in evaluation.held_out.items()}
    verdicts = list(held_out.values())
    counts = {name: verdicts.count(name) for name in ("better", "no significant change", "worse")}
    perceptual_worse = any(found == "worse" and name not in DISTORTION for name, found in held_out.items())
    tones = {"better": "good", "worse": "bad"}
    return [
        Figure(
            "Reward, base → aligned",
            fixed(reward.difference, 0, True),
            f"{fixed(reward.ci_low, 0, True)} to {fixed(reward.ci_high, 0, True)} ({evaluation.confidence:.0%} CI)",
            tones.get(reward.verdict, "neutral"),
        ),
        Figure(
            "Win rate",
            f"{won.value:.0%}",
            f"{won.ci_low:.0%} to {won.ci_high:.0%}, of {evaluation.pairs} pairs with the same noise",
            "good" if won.ci_low > 0.5 else "bad" if won.ci_high < 0.5 else "neutral",
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
            "bad" if perceptual_worse else "mixed" if counts["worse"] else "good" if counts["better"] else "neutral",
        ),
    ]
