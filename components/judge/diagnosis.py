"""What goes wrong in a preference training, read off its curves, and what to change. Pure.

Preference losses fall whatever the winners' errors do: a falling loss is no sign of health. The names are those of the
ways in which people lose trainings: losers' errors that grow, winners' errors that grow, margins that run away, pairs
that are too misranked to be learnt from, and pairs that are memorised.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Curve = Sequence[Mapping[str, float]]

WINNERS_WORSE = 0.05
"""Share by which the winners' error may lie above the reference's."""
LOSERS_WORSE = 0.15
"""The same of the losers', where winners do not get better by at least a third of it."""
PSNR_LOST = 0.1
"""dB of the validation images from which growing errors are taken to harm the restorations."""
RUNAWAY_Z = 10.0
"""Mean z from which the gradient of -log sigmoid(z) is below 5e-5."""
DEAD_Z = -4.0
"""Mean z below which most pairs are badly misranked."""
STOP_STEPS = 10
"""Steps over which the winners' errors are taken before a training is stopped for them: t makes single steps differ."""
MEMORISED = 0.1
"""Rise of the accuracy on pairs that are trained on, of which held-out pairs show less than a fifth."""


@dataclass(frozen=True)
class Finding:
    """One thing that goes wrong.

    Attributes:
        name: short, the same in log, report and messages.
        seen: what the curves show.
        change: what to change in params.yaml.
    """

    name: str
    seen: str
    change: str

    def __str__(self) -> str:
        return f"{self.name}: {self.seen}; {self.change}"


def stopped(training: Curve, limit: float) -> Finding | None:
    """Why a training ends before its last step, or has ended: the setting train.winner_stop; None where it goes on.

    Args:
        training: rows of its log so far; no verdict is given on fewer than STOP_STEPS.
        limit: share by which the winners' error may lie above the reference's; 0 for any.
    """
    last = training[-STOP_STEPS:]
    rise = _rise(last, "winner")
    if not limit or len(last) < STOP_STEPS or not rise > limit:
        return None
    return Finding(
        "stopped by its winners' error",
        f"after step {last[-1]['step']:.0f} the policy's error on winners, over {STOP_STEPS} steps, was {rise:.1%} "
        f"above the reference's, train.winner_stop is {limit:g}",
        "set train.safeguard: 0.9 or train.anchor, lower train.learning_rate, or raise train.winner_stop",
    )


def diagnose(training: Curve, validation: Curve = ()) -> list[Finding]:
    """Findings of reports/training.csv and reports/validation.csv, over the last fifth of the steps.

    Columns that an objective does not have, and values that are not numbers, give no finding.
    """
    last = training[-max(1, len(training) // 5) :]
    found = [_winners(last, validation), _losers(last, validation), _margin(last), _memorised(validation)]
    return [finding for finding in found if finding is not None]


def _mean(rows: Curve, name: str) -> float:
    values = [row[name] for row in rows if name in row]
    return sum(values) / len(values) if values else float("nan")


def _rise(rows: Curve, side: str) -> float:
    """Share by which the policy's error lies above the reference's; NaN where it is unknown."""
    reference = _mean(rows, f"reference_{side}")
    return _mean(rows, f"policy_{side}") / reference - 1.0 if reference else float("nan")


def _unless_harmless(why: str, change: str, validation: Curve) -> str:
    """What to change; nothing, where the validation images are restored as faithfully as at the start."""
    if len(validation) >= 2 and "psnr" in validation[0]:
        gained = validation[-1]["psnr"] - validation[0]["psnr"]
        if gained > -PSNR_LOST:
            return (
                f"the restorations do not show it (validation psnr {gained:+.2f} dB): change nothing as long as that "
                f"holds, and otherwise {change}"
            )
    return f"{why}: {change}"


def _winners(rows: Curve, validation: Curve) -> Finding | None:
    rise = _rise(rows, "winner")
    if not rise > WINNERS_WORSE:
        return None
    return Finding(
        "winners' errors grow",
        f"the policy's error on winners is {rise:.0%} above the reference's",
        _unless_harmless(
            "it forgets what it restored well, which costs fidelity",
            "set train.safeguard: 0.9 or train.anchor, or lower train.learning_rate",
            validation,
        ),
    )


def _losers(rows: Curve, validation: Curve) -> Finding | None:
    losers, winners = _rise(rows, "loser"), _rise(rows, "winner")
    if not (losers > LOSERS_WORSE and -winners < losers / 3.0):
        return None
    return Finding(
        "losers' errors grow",
        f"the policy's error on losers is {losers:.0%} above the reference's, on winners {winners:+.0%}",
        _unless_harmless(
            "preferences are met by making losers unlikely alone",
            "raise train.beta, set train.safeguard: 0.9, or take objective ipo, whose z stops",
            validation,
        ),
    )


def _margin(rows: Curve) -> Finding | None:
    z = _mean(rows, "margin")
    if z > RUNAWAY_Z:
        return Finding(
            "margins run away",
            f"mean z is {z:.1f}",
            "pairs have no gradient left and go on by momentum: set train.margin_cap: 4, lower train.learning_rate, or "
            "lower train.beta, or take objective ipo or dmpo, whose z stops",
        )
    if z < DEAD_Z:
        return Finding(
            "dead gradient",
            f"mean z is {z:.1f}",
            "most pairs are badly misranked, where dmpo has no gradient and others only push: lower train.beta, or "
            "train.learning_rate",
        )
    return None


def _memorised(rows: Curve) -> Finding | None:
    if len(rows) < 2 or "held_out_pair_accuracy" not in rows[0]:
        return None
    own, held = (rows[-1][name] - rows[0][name] for name in ("pair_accuracy", "held_out_pair_accuracy"))
    if not (own > MEMORISED and held < own / 5.0):
        return None
    return Finding(
        "memorised pairs",
        f"accuracy rose by {own:.2f} on pairs that are trained on, by {held:+.2f} on held-out ones",
        "train fewer steps, on more LR images, or with a lower train.learning_rate",
    )
