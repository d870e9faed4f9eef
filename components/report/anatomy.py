"""What the gain is made of, in sentences. Pure."""

import math
from typing import Any

from components.artifacts.evaluation import Evaluation
from components.pages.charts import fixed
from components.report.curves import Table


def anatomy_lines(evaluation: Evaluation, training: Table) -> list[str]:
    """The halves of the reward, the spread over seeds, what the reward goes with, and the errors' rise."""
    found = evaluation.anatomy
    lines = []
    if found.halves is not None:
        lines.append(
            f"Of the reward's difference, {fixed(found.halves.fr, signed=True)} comes from the full-reference metrics "
            f"and {fixed(found.halves.nr, signed=True)} from the no-reference ones."
        )
    if found.spread.base is not None and found.spread.aligned is not None:
        lines.append(
            f"The reward's standard deviation over the seeds of an image is {fixed(found.spread.base)} for the base "
            f"and {fixed(found.spread.aligned)} for the aligned model; in the paper it halves."
        )
    if found.reward_against:
        listed = ", ".join(f"{name} {value:+.2f}" for name, value in found.reward_against.items())
        lines.append(f"Within an image the reward goes with (Spearman; better is positive): {listed}.")
    for who in ("winner", "loser"):
        policy, reference = training.get(f"policy_{who}", []), training.get(f"reference_{who}", [])
        known = [(p, r) for p, r in zip(policy, reference, strict=True) if _known(p) and _known(r) and r > 0]
        last = known[len(known) // 2 :]  # the second half of the training
        if last:
            rise = sum(p for p, _ in last) / sum(r for _, r in last) - 1.0
            lines.append(
                f"Over the second half of the training the policy's error on {who}s is {rise:+.2%} of the reference's."
                + (" A rise means that winners are unlearned too." if who == "winner" else "")
            )
    return lines


def _known(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
