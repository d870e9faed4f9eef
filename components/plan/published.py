"""How well the paper's own hours use its GPUs: the only public figure to plan with.

Wu et al., DP2O-SR, arXiv 2510.18851: candidates of 30,000 LR images at 512 px took 168 h (C-SD2, M = 32) and 432 h
(C-FLUX, M = 64) on 8 A800. What is divided is the arithmetic of our sampler's passes, which are the paper's (50 steps
with guidance, and 25 steps without); tests count them anew.
"""

from dataclasses import dataclass

from components.plan.gpus import GPUS

LR_IMAGES = 30_000


@dataclass(frozen=True)
class Published:
    """The paper's candidates of one family: how many an LR image, TFLOP of one, and hours of all on 8 A800."""

    preset: str
    candidates: int
    tflop: float
    hours: float

    @property
    def seconds(self) -> float:
        """GPU-seconds a candidate."""
        return self.hours * 3600 * 8 / (LR_IMAGES * self.candidates)

    @property
    def utilisation(self) -> float:
        """Fraction of an A800's peak in half precision that the hours imply."""
        return self.tflop * 1e12 / self.seconds / GPUS["A800"].rate("bfloat16")


PUBLISHED = {
    "sd2_controlnet": Published("C-SD2", 32, 111.315, 168.0),
    "flux_controlnet": Published("C-FLUX", 64, 580.068, 432.0),
}
SCORING_HOURS = 72.0
"""Of the paper's nine metrics on 8 A800; it does not say of which candidates."""
