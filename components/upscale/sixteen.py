"""A restored picture of 16 bits as a PNG or TIFF: Pillow writes grey of 16 bits alone."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from components.upscale.carried import Carried
from components.upscale.metadata import metadata, srgb_profile, tags_of

LEVEL = 3
"""Of compression; more takes several times as long for a hundredth of the size."""
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_KINDS = {1: 0, 2: 4, 3: 2, 4: 6}
"""PNG's colour types by samples a pixel."""
_UP = 2
"""PNG's filter of differences from the row above."""
_ASCII, _BYTES = 2, 1
"""Types of TIFF's tags."""


def encoded(image: NDArray[np.uint16], kind: str, carried: Carried | None) -> bytes:
    """RGB `[H, W, 3]` with what its photo carried; grey stays grey, but in a TIFF with alpha, which is enlarged without
    ringing.

    Args:
        kind: PNG or TIFF.
    """
    samples = _samples(image, carried)
    if kind == "TIFF" and samples.shape[2] == 2:  # which hardly any program reads
        samples = samples[..., [0, 0, 0, 1]]
    return _png(samples, carried) if kind == "PNG" else _tiff(samples, carried)


def _samples(image: NDArray[np.uint16], carried: Carried | None) -> NDArray[np.uint16]:
    """`[H, W, C]`: grey or colours, and alpha."""
    if carried is None:
        return image
    colours = _luma(image)[..., None] if carried.grey else image
    if carried.alpha is None:
        return colours
    scale = 257.0 if carried.alpha.dtype == np.uint8 else 1.0
    alpha = Image.fromarray(carried.alpha.astype(np.float32) * scale)
    enlarged = np.asarray(alpha.resize((image.shape[1], image.shape[0]), Image.Resampling.HAMMING))
    return np.concatenate([colours, enlarged.clip(0, 65535).round().astype(np.uint16)[..., None]], axis=-1)


def _luma(image: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """With Pillow's weights (ITU-R 601-2)."""
    weighted = image.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    return np.asarray(weighted.clip(0, 65535).round().astype(np.uint16))


def _png(samples: NDArray[np.uint16], carried: Carried | None) -> bytes:
    height, width, channels = samples.shape
    rows = samples.astype(">u2").reshape(height, -1).view(np.uint8)
    filtered = np.full((height, rows.shape[1] + 1), _UP, np.uint8)
    filtered[0, 1:], filtered[1:, 1:] = rows[0], rows[1:] - rows[:-1]
    header = struct.pack(">IIBBBBB", width, height, 16, _KINDS[channels], 0, 0, 0)
    about = [] if carried is None else _chunks(carried)
    pixels = zlib.compress(filtered.data, LEVEL)
    parts = [_chunk(b"IHDR", header), *about, _chunk(b"IDAT", pixels), _chunk(b"IEND", b"")]
    return _SIGNATURE + b"".join(parts)


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def _chunks(carried: Carried) -> list[bytes]:
    """What Pillow writes about the photo into a picture of one pixel."""
    buffer = io.BytesIO()
    Image.new("RGB", (1, 1)).save(buffer, "PNG", **metadata("PNG", carried))
    data, place, found = buffer.getvalue(), len(_SIGNATURE), []
    while place < len(data):
        length, name = struct.unpack_from(">I4s", data, place)
        if name not in (b"IHDR", b"IDAT", b"IEND"):
            found.append(data[place : place + length + 12])
        place += length + 12
    return found


def _tiff(samples: NDArray[np.uint16], carried: Carried | None) -> bytes:
    from tifffile import TiffWriter  # noqa: PLC0415  # a tenth of a second that hardly any photo needs

    channels = samples.shape[2]
    options: dict[str, Any] = {} if carried is None else _options(carried)
    if channels == 4:
        options["extrasamples"] = ["unassalpha"]
    buffer = io.BytesIO()
    with TiffWriter(buffer) as writer:
        writer.write(
            samples if channels > 1 else samples[..., 0],
            photometric="rgb" if channels > 2 else "minisblack",
            planarconfig="contig" if channels > 1 else None,
            compression="zlib",
            metadata=None,
            software=False,
            **options,
        )
    return buffer.getvalue()


def _options(carried: Carried) -> dict[str, Any]:
    tags = []
    for tag, value in tags_of(carried).items():
        content = value.encode(errors="replace") + b"\0" if isinstance(value, str) else bytes(value)
        tags.append((tag, _ASCII if isinstance(value, str) else _BYTES, len(content), content, True))
    options: dict[str, Any] = {"extratags": tags}
    if carried.dpi:
        options |= {"resolution": carried.dpi, "resolutionunit": "INCH"}
    if carried.profiled and not carried.grey:
        options["iccprofile"] = srgb_profile()
    return options
