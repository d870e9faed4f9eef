"""Blur kernels of Real-ESRGAN: (generalized) Gaussian, plateau and sinc. Each is float32 [k, k] and sums to 1."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import j1

Kernel = NDArray[np.float32]


@cache
def _offsets(size: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """x and y offsets from the centre, [k, k] each."""
    axis = np.arange(size, dtype=np.float64) - size // 2
    x, y = np.meshgrid(axis, axis, indexing="xy")
    return x, y


def squared_distance(size: int, sigma_x: float, sigma_y: float, rotation: float) -> NDArray[np.float64]:
    """xᵀ Σ⁻¹ x on the kernel's grid, [k, k], for the covariance Σ = R diag(σx², σy²) Rᵀ.

    Args:
        size: side of the kernel, odd.
        sigma_x: standard deviation along the rotated first axis, pixels.
        sigma_y: the same along the second axis.
        rotation: angle of the first axis, radians.
    """
    x, y = _offsets(size)
    cos, sin = np.cos(rotation), np.sin(rotation)
    squared: NDArray[np.float64] = ((cos * x + sin * y) / sigma_x) ** 2 + ((cos * y - sin * x) / sigma_y) ** 2
    return squared


def generalized_gaussian(size: int, sigma_x: float, sigma_y: float, rotation: float, beta: float = 1.0) -> Kernel:
    """exp(−½ (xᵀ Σ⁻¹ x)^β), normalised; β = 1 is the Gaussian."""
    return _normalised(np.exp(-0.5 * squared_distance(size, sigma_x, sigma_y, rotation) ** beta))


def plateau(size: int, sigma_x: float, sigma_y: float, rotation: float, beta: float) -> Kernel:
    """1 / (1 + (xᵀ Σ⁻¹ x)^β), normalised."""
    return _normalised(1.0 / (1.0 + squared_distance(size, sigma_x, sigma_y, rotation) ** beta))


def sinc(size: int, cutoff: float) -> Kernel:
    """Circular low-pass filter, ω J₁(ω r) / (2π r) with ω = `cutoff` in radians a pixel (π passes nearly all)."""
    x, y = _offsets(size)
    radius = np.hypot(x, y)
    radius[size // 2, size // 2] = 1.0  # replaced below by the limit at 0
    kernel = cutoff * j1(cutoff * radius) / (2 * np.pi * radius)
    kernel[size // 2, size // 2] = cutoff**2 / (4 * np.pi)
    return _normalised(kernel)


def _normalised(kernel: NDArray[np.float64]) -> Kernel:
    normalised: Kernel = (kernel / kernel.sum()).astype(np.float32)
    return normalised
