"""16-bit pixels with a colour profile → sRGB. Pillow's colour management has 8 bits of colour.

It reads profiles of three primaries and a curve each, which nearly all cameras and editors write (sRGB, Adobe RGB,
Display P3, ProPhoto), and of grey with one curve (ICC.1:2022, sections 8.3.3, 10.6 and 10.18).
"""

from __future__ import annotations

import struct
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import ImageCms

Curve = NDArray[np.float32]
"""Linear light in [0, 1] of each of 65536 values."""
_PARAMETERS = ("g", "gab", "gabc", "gabcd", "gabcdef")
ROWS = 64
"""That are converted at once: floats take eight times what the pixels do."""


def in_srgb(colours: NDArray[np.uint16], profile: bytes) -> NDArray[np.uint16]:
    """uint16 `[H, W, 3]` in sRGB, relative colorimetric, clipped.

    Raises:
        ValueError, struct.error: the profile is damaged, or of another kind.
    """
    curves, matrix = _transform(profile)
    result = np.empty_like(colours)
    for start in range(0, len(colours), ROWS):
        rows = colours[start : start + ROWS]
        linear = np.stack([curve[rows[..., channel]] for channel, curve in enumerate(curves)], axis=-1)
        result[start : start + ROWS] = _encoded(linear @ matrix.T)
    return result


def _encoded(linear: NDArray[np.float32]) -> NDArray[np.uint16]:
    """sRGB's curve (IEC 61966-2-1)."""
    clipped = linear.clip(0.0, 1.0)
    curved = np.where(clipped <= 0.0031308, 12.92 * clipped, 1.055 * clipped ** (1 / 2.4) - 0.055)
    return (curved * 65535.0).round().astype(np.uint16)


@lru_cache(maxsize=8)
def _transform(profile: bytes) -> tuple[tuple[Curve, Curve, Curve], NDArray[np.float32]]:
    """Curves of the channels, and the matrix from linear light to that of sRGB."""
    tags, space = _tags(profile), profile[16:20]
    if b"A2B0" in tags:
        raise ValueError("its colour profile is a table")
    if space == b"GRAY":
        curve = _curve(tags[b"kTRC"])
        return (curve, curve, curve), np.eye(3, dtype=np.float32)
    if space != b"RGB ":
        raise ValueError(f"its colour profile is of {space!r}")
    own = np.stack([_xyz(tags[name]) for name in (b"rXYZ", b"gXYZ", b"bXYZ")], axis=1)
    srgb = _tags(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    target = np.stack([_xyz(srgb[name]) for name in (b"rXYZ", b"gXYZ", b"bXYZ")], axis=1)
    red, green, blue = (_curve(tags[name]) for name in (b"rTRC", b"gTRC", b"bTRC"))
    return (red, green, blue), (np.linalg.inv(target) @ own).astype(np.float32)


def _tags(profile: bytes) -> dict[bytes, bytes]:
    (count,) = struct.unpack_from(">I", profile, 128)
    if count > 200 or profile[36:40] != b"acsp":
        raise ValueError("its colour profile is damaged")
    entries = [struct.unpack_from(">4sII", profile, 132 + 12 * place) for place in range(count)]
    return {name: profile[offset : offset + size] for name, offset, size in entries}


def _xyz(tag: bytes) -> NDArray[np.float64]:
    if tag[:4] != b"XYZ ":
        raise ValueError("its colour profile has no primaries")
    return np.array(struct.unpack_from(">3i", tag, 8)) / 65536.0


def _curve(tag: bytes) -> Curve:
    values = np.linspace(0.0, 1.0, 65536)
    if tag[:4] == b"curv":
        (count,) = struct.unpack_from(">I", tag, 8)
        if count == 0:
            return values.astype(np.float32)
        if count == 1:
            exponent = int(struct.unpack_from(">H", tag, 12)[0]) / 256.0
            return np.power(values, exponent).astype(np.float32)
        table = np.frombuffer(tag, ">u2", count, 12) / 65535.0
        return np.interp(values, np.linspace(0.0, 1.0, count), table).astype(np.float32)
    if tag[:4] != b"para":
        raise ValueError("its colour profile has another kind of curve")
    (kind,) = struct.unpack_from(">H", tag, 8)
    if kind >= len(_PARAMETERS):
        raise ValueError("its colour profile has another kind of curve")
    names = _PARAMETERS[kind]
    numbers = struct.unpack_from(f">{len(names)}i", tag, 12)
    told = {name: number / 65536.0 for name, number in zip(names, numbers, strict=True)}
    return _parametric(values, kind, told).clip(0.0, 1.0).astype(np.float32)


def _parametric(x: NDArray[np.float64], kind: int, told: dict[str, float]) -> NDArray[np.float64]:
    """Y of X, section 10.18, table 68."""
    g, a, b, c = told["g"], told.get("a", 1.0), told.get("b", 0.0), told.get("c", 0.0)
    power: NDArray[np.float64] = np.maximum(a * x + b, 0.0) ** g
    if kind == 0:
        return power
    if kind in (1, 2):
        above = x >= (-b / a if a else 0.0)
        shift = c if kind == 2 else 0.0
        return np.where(above, power + shift, shift)
    above = x >= told["d"]
    return np.where(above, power + told.get("e", 0.0), c * x + told.get("f", 0.0))
