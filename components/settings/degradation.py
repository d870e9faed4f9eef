"""Ranges of the degradation that makes an LR image of an HR crop.

The defaults are the first stage of Real-ESRGAN (Wang et al. 2021, arXiv 2107.10833, section 3 and its released
training options).
"""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Range = tuple[float, float]

MAX_KERNEL = 21
KERNEL_NAMES = ("iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso")
RESIZE_NAMES = ("up", "down", "keep")
INTERPOLATION_NAMES = ("area", "linear", "cubic")


class DegradationSettings(BaseModel):
    """What may be drawn, image by image. A range is (low, high), drawn uniformly; equal ends fix the value."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kernel_sizes: tuple[int, ...] = Field(
        default=(7, 9, 11, 13, 15, 17, 19, 21),
        description="Sides of the blur kernel in HR pixels, odd, 3 to 21; one is drawn. Larger costs time.",
    )
    kernel_probabilities: tuple[Probability, ...] = Field(
        default=(0.45, 0.25, 0.12, 0.03, 0.12, 0.03),
        description=f"Probabilities of the blur kernels {', '.join(KERNEL_NAMES)}; they sum to 1.",
    )
    sinc_probability: Probability = Field(
        default=0.1, description="Probability of a sinc filter (ringing) in place of the kernels above."
    )
    blur_sigma: Range = Field(default=(0.2, 3.0), description="Standard deviation of the blur, HR pixels, above 0.")
    generalized_beta: Range = Field(
        default=(0.5, 4.0),
        description="Shape of generalized Gaussian kernels: 1 is a Gaussian, above 1 flatter, below 1 peakier.",
    )
    plateau_beta: Range = Field(default=(1.0, 2.0), description="Shape of plateau kernels: higher has a flatter top.")
    resize_probabilities: tuple[Probability, Probability, Probability] = Field(
        default=(0.2, 0.7, 0.1),
        description="Probabilities to resize up, down or not at all before the noise; they sum to 1.",
    )
    resize_factor: Range = Field(
        default=(0.15, 1.5),
        description="Lowest factor of `down` (0.1 to 1) and highest factor of `up` (1 to 4); sides, not areas.",
    )
    gaussian_probability: Probability = Field(
        default=0.5, description="Probability that the noise is Gaussian; otherwise it is Poisson (signal-dependent)."
    )
    gaussian_sigma: Range = Field(
        default=(1.0, 30.0), description="Standard deviation of Gaussian noise, grey levels of 255."
    )
    poisson_scale: Range = Field(
        default=(0.05, 3.0), description="Strength of Poisson noise; 1 is the photon noise of 8-bit values."
    )
    grey_noise_probability: Probability = Field(
        default=0.4, description="Probability that the noise is the same in all three channels."
    )
    jpeg_quality: tuple[int, int] = Field(default=(30, 95), description="JPEG quality, 1 to 100, both ends possible.")

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        for name in ("kernel_probabilities", "resize_probabilities"):
            total = sum(getattr(self, name))
            if abs(total - 1.0) > 1e-6:
                raise ValueError(f"{name} sum to {total:g}: make them sum to 1")
        if len(self.kernel_probabilities) != len(KERNEL_NAMES):
            raise ValueError(
                f"kernel_probabilities: {len(self.kernel_probabilities)} given, one each for {', '.join(KERNEL_NAMES)}"
            )
        if not self.kernel_sizes or any(side % 2 == 0 or not 3 <= side <= MAX_KERNEL for side in self.kernel_sizes):
            raise ValueError(f"kernel_sizes {self.kernel_sizes}: give odd numbers from 3 to {MAX_KERNEL}")
        limits: dict[str, Range] = {
            "blur_sigma": (1e-3, 20.0),
            "generalized_beta": (0.1, 10.0),
            "plateau_beta": (0.1, 10.0),
            "gaussian_sigma": (0.0, 100.0),
            "poisson_scale": (0.0, 10.0),
            "jpeg_quality": (1, 100),
        }
        for name, (lowest, highest) in limits.items():
            low, high = getattr(self, name)
            if not lowest <= low <= high <= highest:
                raise ValueError(f"{name} ({low:g}, {high:g}): give low ≤ high, both within {lowest:g} … {highest:g}")
        down, up = self.resize_factor
        if not (0.1 <= down <= 1.0 <= up <= 4.0):
            raise ValueError(f"resize_factor ({down:g}, {up:g}): the first is 0.1 … 1 (down), the second 1 … 4 (up)")
        return self
