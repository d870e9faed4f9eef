"""How well the paper's own hours use its GPUs: the only public figure to plan with.

Wu et al., DP2O-SR, arXiv 2510.18851: candidates of 30,000 LR images at 512 px took 168 h (C-SD2, M = 32) and 432 h
(C-FLUX, M = 64) on 8 A800. The figures of a family are in its row of `FAMILIES`.
"""

from components.plan.gpus import GPUS
from components.settings.families import Published

LR_IMAGES, USED_GPUS = 30_000, 8
SCORING_HOURS = 72.0
"""Of the paper's nine metrics on 8 A800; it does not say of which candidates."""


def seconds_a_candidate(published: Published) -> float:
    """GPU-seconds."""
    return published.hours * 3600 * USED_GPUS / (LR_IMAGES * published.candidates)


def utilisation(published: Published) -> float:
    """Fraction of an A800's peak in half precision that the hours imply."""
    return published.tflop * 1e12 / seconds_a_candidate(published) / GPUS["A800"].rate("bfloat16")
