"""Degradations that the ranking head learns to put below the clean crop; each at strengths in (0, 1].

Beside what LR images suffer from, they contain what a policy could do to please a naive judge: ringing, contrast and
saturation gain, periodic patterns, misplaced texture, grain, ragged edges, canvas, the lattice of an unshuffle, and the
correlated leftover noise of an unfinished diffusion.
"""

import io
from collections.abc import Callable

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray

Image = NDArray[np.float32]  # [H, W, 3] RGB in [0, 1]
Degradation = Callable[[Image, float, np.random.Generator], Image]


def _between(strength: float, low: float, high: float) -> float:
    return low + (high - low) * strength


def blur(image: Image, strength: float, generator: np.random.Generator) -> Image:
    """Gaussian blur, sigma 0.5 to 3 px."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), _between(strength, 0.5, 3.0)), dtype=np.float32)


def noise(image: Image, strength: float, generator: np.random.Generator) -> Image:
    """White Gaussian noise, sigma 0.01 to 0.12; grey in four cases of ten, as Real-ESRGAN draws it."""
    channels = 1 if generator.random() < 0.4 else 3
    sample = generator.standard_normal((*image.shape[:2], channels), dtype=np.float32)
    return image + np.float32(_between(strength, 0.01, 0.12)) * sample


def jpeg(image: Image, strength: float, generator: np.random.Generator) -> Image:
    """JPEG at quality 80 down to 15."""
    quality = round(_between(strength, 80, 15))
    buffer = io.BytesIO()
    PIL.Image.fromarray(_bytes(image)).save(buffer, format="JPEG", quality=quality)
    with PIL.Image.open(buffer) as coded:
        return np.asarray(coded, dtype=np.float32) / np.float32(255)


def bicubic(image: Image, strength: float, generator: np.random.Generator) -> Image:
    """Reduced 1.3 to 4 times and enlarged again, bicubic."""
    return _resample(image, _between(strength, 1.3, 4.0))


def real(image: Image, strength: float, generator: np.random.Generator) -> Image:
    """First-order real-world degradation to 1/4 and back: blur, reduction, noise, JPEG; mixed with the clean image.

    The mixture makes strengths below 1 what a half-restored image is.
    """
    height, width = image.shape[:2]
    low = cv2.GaussianBlur(image, (0, 0), generator.uniform(0.3, 2.0))
    low = cv2.resize(low, (width // 4, height // 4), interpolation=cv2.INTER_AREA)
    low = low + np.float32(generator.uniform(0.005, 0.06)) * generator.standard_normal(low.shape, dtype=np.float32)
    low = jpeg(low.astype(np.float32), generator.uniform(0.0, 0.8), generator)
    degraded = cv2.resize(low, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(image + np.float32(_between(strength, 0.2, 1.0)) * (degraded - image), dtype=np.float32)


def speckle(image: Image, strength: float, generator: np.random.Generator) -> Image:
    """Mottled noise, correlated over 0.6 to 1.6 px, deviation 0.008 to 0.06: what an unfinished diffusion leaves."""
    sample = generator.standard_normal(image.shape, dtype=np.float32)
    mottled = cv2.GaussianBlur(sample, (0, 0), generator.uniform(0.6, 1.6))
    return np.asarray(image + _between(strength, 0.008, 0.06) * mottled / mottled.std(), dtype=np.float32)


def soft_speckle(image: Image, strength: float, generator: np.random.Generator) -> Image:
    """Blurred detail under mottled noise: a restoration that guessed."""
    return speckle(bicubic(image, _between(strength, 0.2, 0.9), generator), 0.8 * strength, generator)


def ringing(image: Image, strength: float, generator: np.random.Generator) -> Image:
    """Over-sharpening: unsharp masking of radius 0.7 to 2 px, amount 0.5 to 4, halos included."""
    low = cv2.GaussianBlur(image, (0, 0), generator.uniform(0.7, 2.0))
    return np.asarray(image + _between(strength, 0.5, 4.0) * (image - low), dtype=np.float32)


def sharpened_soft(image: Image, strength: float, generator: np.random.Generator) -> Image:
    """Lost detail, then over-sharpening: crisp edges without texture."""
    return ringing(bicubic(image, _between(strength, 0.4, 1.0), generator), 0.6 * strength, generator)


def contrast(image: Image, strength: float, generator: np.random.Generator) -> Image:
    """Contrast gain about the mean, 1.15 to 2."""
    mean = image.mean(dtype=np.float32)
    return np.asarray(mean + _between(strength, 1.15, 2.0) * (image - mean), dtype=np.float32)


def saturation(image: Image, strength: float, generator: np.random.Generator) -> Image:
    """Saturation gain, 1.25 to 3."""
    grey = image @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    return np.asarray(grey[..., None] + _between(strength, 1.25, 3.0) * (image - grey[..., None]), dtype=np.float32)


def grid(image: Image, strength: float, generator: np.random.Generator) -> Image:
    """A periodic pattern of 2, 4 or 8 px, amplitude 0.01 to 0.06: checkerboard, or seams of blocks."""
    period = int(generator.choice([2, 4, 8]))
    rows, columns = np.indices(image.shape[:2])
    if generator.random() < 0.5:
        pattern = np.where((rows // (period // 2) + columns // (period // 2)) % 2, 1.0, -1.0)
    else:
        pattern = np.where((rows % period == 0) | (columns % period == 0), 1.0, -1.0 / period)
    return np.asarray(image + _between(strength, 0.01, 0.06) * pattern[..., None], dtype=np.float32)


def jitter(image: Image, strength: float, generator: np.random.Generator) -> Image:
    """Every pixel taken from a place up to 0.5 to 2.5 px away, smoothly varying: texture that does not belong."""
    height, width = image.shape[:2]
    field = generator.standard_normal((2, height, width), dtype=np.float32)
    shift = np.stack([cv2.GaussianBlur(plane, (0, 0), 1.0) for plane in field])
    shift *= np.float32(_between(strength, 0.5, 2.5) / 2 / shift.std())
    rows, columns = np.indices((height, width), dtype=np.float32)
    moved = cv2.remap(image, columns + shift[0], rows + shift[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(moved, dtype=np.float32)


def grain(image: Image, strength: float, generator: np.random.Generator) -> Image:
    """Fine grain of 0.3 to 0.8 px where there is texture already, 5 to 35 % of its local contrast; luma in half."""
    channels = 1 if generator.random() < 0.5 else 3
    sample = generator.standard_normal((*image.shape[:2], channels), dtype=np.float32)
    fine = cv2.GaussianBlur(sample, (0, 0), generator.uniform(0.3, 0.8)).reshape(sample.shape)
    return np.asarray(image + _between(strength, 0.1, 0.6) * _contrast(image) * fine / fine.std(), dtype=np.float32)


def ragged(image: Image, strength: float, generator: np.random.Generator) -> Image:
    """Edges that leave their line by 0.15 to 1.1 px every few pixels, while areas without edges stay as they are."""
    height, width = image.shape[:2]
    field = generator.standard_normal((2, height, width), dtype=np.float32)
    reach = generator.uniform(0.7, 1.4)
    shift = np.stack([cv2.GaussianBlur(plane, (0, 0), reach) for plane in field])
    shift *= np.float32(_between(strength, 0.15, 1.1) / shift.std())
    contrast = _contrast(image)[..., 0]
    shift *= np.minimum(contrast / max(float(np.quantile(contrast, 0.9)), 1e-3), 1.0)
    rows, columns = np.indices((height, width), dtype=np.float32)
    moved = cv2.remap(image, columns + shift[0], rows + shift[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(moved, dtype=np.float32)


def canvas(image: Image, strength: float, generator: np.random.Generator) -> Image:
    """A woven texture over smooth areas: two crossing waves of 2.5 to 6 px, broken up, amplitude 0.006 to 0.04."""
    height, width = image.shape[:2]
    rows, columns = np.indices((height, width), dtype=np.float32)
    angle, period = generator.uniform(0.0, np.pi / 2), generator.uniform(2.5, 6.0)
    along = np.cos(angle) * columns + np.sin(angle) * rows
    across = np.cos(angle) * rows - np.sin(angle) * columns
    wobble = cv2.GaussianBlur(generator.standard_normal((2, height, width), dtype=np.float32)[0], (0, 0), 3.0)
    wobble *= np.float32(generator.uniform(0.0, 1.5) / wobble.std())
    turn = np.float32(2.0 * np.pi / period)
    weave = np.sin(turn * along + wobble) + np.sin(turn * across - wobble)
    weave *= np.exp(-_contrast(image)[..., 0] / 0.04)
    return np.asarray(image + _between(strength, 0.006, 0.04) * weave[..., None], dtype=np.float32)


def lattice(image: Image, strength: float, generator: np.random.Generator) -> Image:
    """What a fixed-phase unshuffle leaves: each of the 2 x 2 phases a little brighter or darker, by local contrast."""
    phases = generator.standard_normal((2, 2, 1 if generator.random() < 0.5 else 3)).astype(np.float32)
    phases -= phases.mean(axis=(0, 1), keepdims=True)
    phases /= phases.std() + 1e-6
    rows, columns = np.indices(image.shape[:2])
    size = _between(strength, 0.05, 0.3) * _contrast(image) + np.float32(_between(strength, 0.003, 0.015))
    return np.asarray(image + size * phases[rows % 2, columns % 2], dtype=np.float32)


def _contrast(image: Image) -> Image:
    """Local standard deviation of the luma over about 7 px, `[H, W, 1]`."""
    luma = image.mean(axis=2)
    mean = cv2.GaussianBlur(luma, (0, 0), 2.0)
    square = cv2.GaussianBlur(luma * luma, (0, 0), 2.0)
    return np.asarray(np.sqrt(np.maximum(square - mean * mean, 0.0))[..., None], dtype=np.float32)


DEGRADATIONS: dict[str, Degradation] = {
    function.__name__: function
    for function in (
        blur,
        noise,
        jpeg,
        bicubic,
        real,
        speckle,
        soft_speckle,
        ringing,
        sharpened_soft,
        contrast,
        saturation,
        grid,
        jitter,
        grain,
        ragged,
        canvas,
        lattice,
    )
}
"""By name; all keep the size, and their results are clipped and rounded to 8 bits by `degrade`."""


def degrade(image: Image, name: str, strength: float, generator: np.random.Generator) -> NDArray[np.uint8]:
    """An 8-bit image `[H, W, 3]`: `image` under degradation `name` at `strength` in (0, 1]."""
    return _bytes(DEGRADATIONS[name](image, strength, generator))


def _bytes(image: Image) -> NDArray[np.uint8]:
    return np.asarray(np.rint(np.clip(image, 0.0, 1.0) * 255), dtype=np.uint8)


def _resample(image: Image, factor: float) -> Image:
    height, width = image.shape[:2]
    # Area reduction averages what cv2's own bicubic reduction would alias.
    small = cv2.resize(image, (round(width / factor), round(height / factor)), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), dtype=np.float32)
