"""What the gain is made of, in sentences. Pure."""

import math
from collections.abc import Mapping
from typing import Any

from components.pages.charts import fixed
from components.report.curves import Table


def anatomy_lines(evaluation: Mapping[str, Any], training: Table) -> list[str]:
    """The halves of the reward, the spread over seeds, what the reward goes with, and the errors' rise."""
    found = evaluation.get("anatomy", {})
    lines = []
    if "halves" in found:
        fr, nr = found["halves"]["fr"], found["halves"]["nr"]
        lines.append(
            f"Of the reward's difference, {fixed(fr, signed=True)} comes from the full-reference metrics and "
            f"{fixed(nr, signed=True)} from the no-reference ones."
        )
    spread = found.get("spread", {})
    if all(_known(spread.get(model)) for model in ("base", "aligned")):
        lines.append(
            f"The reward's standard deviation over the seeds of an image is {fixed(spread['base'])} for the base and "
            f"{fixed(spread['aligned'])} for the aligned model; in the paper it halves."
        )
    against = {name: value for name, value in found.get("reward_against", {}).items() if _known(value)}
    if against:
        listed = ", ".join(f"{name} {value:+.2f}" for name, value in against.items())
        lines.append(f"Within an image the reward goes with (Spearman; better is positive): {listed}.")
    for who in ("winner", "loser"):
        policy, reference = training[f"policy_{who}"], training[f"reference_{who}"]
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
