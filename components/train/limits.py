"""What the best checkpoint is held to beside its reward: fidelity and guards on the validation images. Pure."""

from collections.abc import Mapping

from components.settings import ValidationLimit

FALLING = ("psnr", "ssim")
"""Fidelities, which may fall by their limit; every other limit is of a guard, which may rise by it."""


def within(row: Mapping[str, float], base: Mapping[str, float], limits: Mapping[ValidationLimit, float]) -> bool:
    """True where no limited quantity of a validation `row` is worse than the `base` row's by more than its limit.

    A quantity that the rows lack, PSNR without HR for example, is not held to anything.
    """
    for name, limit in limits.items():
        if name not in row:
            continue
        worse = base[name] - row[name] if name in FALLING else row[name] - base[name]
        if worse > limit:
            return False
    return True
