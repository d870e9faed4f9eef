"""HR crop → LR image: the first-order Real-ESRGAN pipeline (arXiv 2107.10833, section 3.1).

LR = JPEG(resize(HR ⊛ k) + n) resized to 1/scale. Everything random comes from one generator, seeded from what the crop
*is* (run seed, source photo, position), never from when it is processed: an image's LR does not depend on the others.
"""

from __future__ import annotations

import hashlib
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from components.photos.kernels import Kernel, generalized_gaussian, plateau, sinc
from components.settings.degradation import INTERPOLATION_NAMES, KERNEL_NAMES, RESIZE_NAMES, DegradationSettings

Image = NDArray[np.uint8]
_Float = NDArray[np.float32]
_INTERPOLATION = {"area": cv2.INTER_AREA, "linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC}
_GREY_WEIGHTS = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # BT.601 luma, RGB order
_LARGE_KERNEL = 13
"""From this side on the sinc cut-off may be as low as π/5, below it π/3, so that its ringing fits in the kernel."""


def crop_generator(seed: int, source: str, x: int, y: int) -> np.random.Generator:
    """The generator of one crop, from a sha256 of the run's seed, the source photo's digest and the crop's position."""
    digest = hashlib.sha256(f"{seed}/{source}/{x}/{y}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))


def degrade(
    hr: Image, rng: np.random.Generator, ranges: DegradationSettings, scale: int
) -> tuple[Image, dict[str, Any]]:
    """Degrades one HR crop.

    Args:
        hr: RGB, uint8 [H, W, 3]; H and W are multiples of `scale`.
        rng: source of every random draw; advanced.
        ranges: what may be drawn.
        scale: side of HR over side of LR, 1 or more.

    Returns:
        LR, RGB uint8 [H/scale, W/scale, 3], and what was drawn (JSON types only).

    Raises:
        ValueError: wrong type or shape, or a side that is not a multiple of `scale`.
    """
    if hr.dtype != np.uint8 or hr.ndim != 3 or hr.shape[2] != 3:
        raise ValueError(f"an HR crop is uint8 [H, W, 3], not {hr.dtype} {list(hr.shape)}")
    height, width = hr.shape[:2]
    if scale < 1 or height % scale or width % scale:
        raise ValueError(f"crop {width}×{height} does not divide by scale {scale}: choose a multiple of it")
    kernel, blur = draw_kernel(rng, ranges)
    image = cv2.filter2D(hr.astype(np.float32), -1, kernel, borderType=cv2.BORDER_REFLECT_101)
    image, resize = _resize(np.clip(image, 0, 255), rng, ranges)
    image, noise = _add_noise(image, rng, ranges)
    quality = int(rng.integers(ranges.jpeg_quality[0], ranges.jpeg_quality[1] + 1))
    compressed = _jpeg(_to_uint8(image), quality)
    final = INTERPOLATION_NAMES[int(rng.integers(len(INTERPOLATION_NAMES)))]
    lr = cv2.resize(
        compressed.astype(np.float32), (width // scale, height // scale), interpolation=_INTERPOLATION[final]
    )
    return _to_uint8(lr), {
        "blur": blur,
        "resize": resize,
        "noise": noise,
        "jpeg_quality": quality,
        "final_resize": final,
    }


def draw_kernel(rng: np.random.Generator, ranges: DegradationSettings) -> tuple[Kernel, dict[str, Any]]:
    """One blur kernel, float32 [k, k] that sums to 1, and its parameters."""
    size = int(ranges.kernel_sizes[int(rng.integers(len(ranges.kernel_sizes)))])
    if rng.random() < ranges.sinc_probability:
        lowest = np.pi / 3 if size < _LARGE_KERNEL else np.pi / 5
        cutoff = float(rng.uniform(lowest, np.pi))
        return sinc(size, cutoff), {"kernel": "sinc", "size": size, "cutoff": cutoff}
    name = KERNEL_NAMES[int(rng.choice(len(KERNEL_NAMES), p=ranges.kernel_probabilities))]
    sigma_x = float(rng.uniform(*ranges.blur_sigma))
    sigma_y, rotation = sigma_x, 0.0
    if name.endswith("aniso"):
        sigma_y = float(rng.uniform(*ranges.blur_sigma))
        rotation = float(rng.uniform(-np.pi, np.pi))
    drawn: dict[str, Any] = {"kernel": name, "size": size, "sigma_x": sigma_x, "sigma_y": sigma_y, "rotation": rotation}
    if name.startswith("plateau"):
        drawn["beta"] = _draw_beta(rng, ranges.plateau_beta)
        return plateau(size, sigma_x, sigma_y, rotation, drawn["beta"]), drawn
    drawn["beta"] = _draw_beta(rng, ranges.generalized_beta) if name.startswith("generalized") else 1.0
    return generalized_gaussian(size, sigma_x, sigma_y, rotation, drawn["beta"]), drawn


def _draw_beta(rng: np.random.Generator, limits: tuple[float, float]) -> float:
    """Half of the draws from low to 1 and half from 1 to high where the range holds 1; otherwise uniform.

    As in Real-ESRGAN, whose plateau kernels, with a range of (1, 2), have a shape of exactly 1 in half of the cases.
    """
    low, high = limits
    if low <= 1.0 <= high:
        limits = (low, 1.0) if rng.random() < 0.5 else (1.0, high)
    return float(rng.uniform(*limits))


def _resize(image: _Float, rng: np.random.Generator, ranges: DegradationSettings) -> tuple[_Float, dict[str, Any]]:
    name = RESIZE_NAMES[int(rng.choice(len(RESIZE_NAMES), p=ranges.resize_probabilities))]
    down, up = ranges.resize_factor
    factor = {"up": float(rng.uniform(1.0, up)), "down": float(rng.uniform(down, 1.0)), "keep": 1.0}[name]
    interpolation = INTERPOLATION_NAMES[int(rng.integers(len(INTERPOLATION_NAMES)))]
    height, width = image.shape[:2]
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    if size != (width, height):
        image = np.clip(cv2.resize(image, size, interpolation=_INTERPOLATION[interpolation]), 0, 255)
    return image, {"kind": name, "factor": factor, "interpolation": interpolation}


def _add_noise(image: _Float, rng: np.random.Generator, ranges: DegradationSettings) -> tuple[_Float, dict[str, Any]]:
    gaussian = bool(rng.random() < ranges.gaussian_probability)
    grey = bool(rng.random() < ranges.grey_noise_probability)
    shape = (*image.shape[:2], 1 if grey else 3)
    if gaussian:
        sigma = float(rng.uniform(*ranges.gaussian_sigma))
        noise = rng.standard_normal(shape, dtype=np.float32) * np.float32(sigma)
        return image + noise, {"kind": "gaussian", "grey": grey, "sigma": sigma}
    strength = float(rng.uniform(*ranges.poisson_scale))
    signal = np.rint(image @ _GREY_WEIGHTS[:, None] if grey else image).clip(0, 255).astype(np.int64)
    # photons at full white: the number of grey levels in use, rounded up to a power of two (Real-ESRGAN)
    levels = int(np.count_nonzero(np.bincount(signal.ravel(), minlength=256)))
    photons = 2.0 ** np.ceil(np.log2(max(levels, 2)))
    arrived = rng.poisson(signal * (photons / 255.0)).astype(np.float32) * np.float32(255.0 / photons)
    return image + np.float32(strength) * (arrived - signal.astype(np.float32)), {
        "kind": "poisson",
        "grey": grey,
        "strength": strength,
    }


def _jpeg(image: Image, quality: int) -> Image:
    encoded, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR) if encoded else None
    if decoded is None:
        raise RuntimeError(f"OpenCV made no JPEG of a {image.shape[1]}×{image.shape[0]} image at quality {quality}")
    return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _to_uint8(image: NDArray[Any]) -> Image:
    rounded: Image = np.clip(np.rint(image), 0, 255).astype(np.uint8)
    return rounded
