"""Small pictures of every format and kind, and what becomes of them on the way: seeded damage."""

import io
import struct
from typing import Any

import numpy as np
from PIL import Image, ImageCms
from tifffile import imwrite

from components.photos import newer  # noqa: F401  # it registers HEIC and JPEG XL

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def pictures() -> dict[str, bytes]:
    """Whole files by kind."""
    small = np.random.default_rng(5).integers(0, 256, (5, 6, 3), np.uint8)
    picture = Image.fromarray(small).resize((48, 40), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112], exif[0x010E], exif[0x0132] = 6, "a street", "2030:01:01 00:00:00"
    exif.get_ifd(0x8769)[0x9003] = "2030:01:01 00:00:00"
    exif.get_ifd(0x8825)[2] = (1.0, 2.0, 3.0)
    grey16 = np.asarray(picture.convert("L")).astype(np.uint16) * 257

    def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        return buffer.getvalue()

    def tiff(pixels: Any, **options: Any) -> bytes:
        buffer = io.BytesIO()
        imwrite(buffer, pixels, metadata=None, **options)
        return buffer.getvalue()

    planes = np.moveaxis(np.asarray(picture), -1, 0)
    return {
        "jpeg": saved(picture, "JPEG", exif=exif, icc_profile=SRGB),
        "jpeg progressive": saved(picture, "JPEG", progressive=True),
        "jpeg restarts": saved(picture, "JPEG", restart_marker_rows=1),
        "jpeg grey": saved(picture.convert("L"), "JPEG"),
        "jpeg cmyk": saved(picture.convert("CMYK"), "JPEG"),
        "mpo": saved(picture, "MPO", save_all=True, append_images=[picture]),
        "png": saved(picture, "PNG", exif=exif, icc_profile=SRGB),
        "png palette": saved(picture.convert("P"), "PNG", transparency=3),
        "png 16": saved(Image.fromarray(grey16), "PNG"),
        "webp": saved(picture, "WEBP", exif=exif),
        "webp lossless": saved(picture.convert("RGBA"), "WEBP", lossless=True),
        "gif": saved(picture.convert("P"), "GIF"),
        "heic": saved(picture, "HEIF", exif=exif.tobytes()),
        "heic with alpha": saved(picture.convert("RGBA"), "HEIF", quality=50),
        "avif": saved(picture, "AVIF", exif=exif, icc_profile=SRGB),
        "jpeg xl": saved(picture, "JXL", exif=exif.tobytes()),
        "jpeg xl with alpha": saved(picture.convert("RGBA"), "JXL"),
        "jpeg xl box": saved(picture, "JXL", use_container=True, xmp=b"<x/>"),
        "tiff": saved(picture, "TIFF", exif=exif),
        "tiff deflate": saved(picture, "TIFF", compression="tiff_deflate"),
        "tiff lzw": saved(picture, "TIFF", compression="tiff_lzw"),
        "tiff jpeg": saved(picture, "TIFF", compression="jpeg"),
        "tiff planes": tiff(planes.astype(np.uint16) * 257, photometric="rgb", planarconfig="separate"),
        "tiff 32": tiff(grey16.astype(np.int32), photometric="minisblack"),
        "tiff white": tiff(grey16, photometric="miniswhite"),
        "tiff big": tiff(np.asarray(picture), photometric="rgb", bigtiff=True),
    }


def mutated(data: bytes, seed: int) -> bytes:
    """`data` with one to four damages, most of them near its start, where structure is."""
    rng = np.random.default_rng(seed)
    changed = bytearray(data)
    for _ in range(rng.integers(1, 5)):
        end = len(changed) if rng.random() < 0.4 else min(len(changed), 400)
        place = int(rng.integers(0, max(end, 1)))
        length = int(rng.integers(1, 9))
        kind = rng.integers(0, 7)
        if kind == 0:
            changed[place : place + 1] = bytes([rng.integers(0, 256)])
        elif kind == 1:
            changed[place : place + 1] = bytes([changed[place] ^ 1 << int(rng.integers(0, 8))]) if changed else b""
        elif kind == 2:
            extreme = (b"\0", b"\xff", b"\x7f", b"\x80")[rng.integers(0, 4)]
            changed[place : place + length] = extreme * length
        elif kind == 3:
            del changed[place : place + length]
        elif kind == 4:
            changed[place:place] = changed[place : place + length * 8]
        elif kind == 5:
            changed[place:place] = rng.bytes(length)
        else:
            del changed[int(rng.integers(1, len(changed) + 1)) :]
            changed += (b"", b"\xff\xd9", b"\0;", bytes(64))[rng.integers(0, 4)]
        if not changed:
            break
    return bytes(changed)


EXTREMES = (0, 1, 2, 3, 7, 255, 2**15, 2**16 - 1, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
TAGS = (254, 256, 257, 258, 259, 262, 273, 274, 277, 278, 279, 282, 284, 317, 320, 322, 323, 324, 325, 330, 338, 339,
        347, 530, 700, 33432, 34377, 34665, 34675, 34853, 40965)  # fmt: skip
"""Those that readers act on: sizes, strips, tiles, planes, predictors, palettes, further directories, metadata."""


def redirected(data: bytes, seed: int) -> bytes:
    """A TIFF with one to four damages of its first directory: of entries, their number, and the pointer to the next."""
    rng = np.random.default_rng(seed)
    changed = bytearray(data)
    order = "<" if data[:1] == b"I" else ">"
    large = data[2:4] in (b"+\0", b"\0+")  # BigTIFF
    pointer, count, size = ("Q", "Q", 20) if large else ("I", "H", 12)
    (first,) = struct.unpack_from(order + pointer, data, 8 if large else 4)
    (entries,) = struct.unpack_from(order + count, data, first)
    start = first + struct.calcsize(order + count)

    def extreme() -> int:
        return int(rng.choice([*EXTREMES, first, len(data), len(data) - 1, int(rng.integers(0, len(data)))]))

    def put(kind: str, place: int, value: int) -> None:
        struct.pack_into(order + kind, changed, place, value % 256 ** struct.calcsize(kind))

    for _ in range(rng.integers(1, 5)):
        entry = start + size * int(rng.integers(0, entries))
        kind = rng.integers(0, 7)
        if kind == 0:
            put("H", entry, int(rng.choice(TAGS)))
        elif kind == 1:
            put("H", entry + 2, int(rng.choice([*range(20), 2**16 - 1])))
        elif kind == 2:
            put(pointer, entry + 4, extreme())
        elif kind == 3:
            put(pointer, entry + size - struct.calcsize(pointer), extreme())
        elif kind == 4:
            other = start + size * int(rng.integers(0, entries))
            changed[entry : entry + size] = changed[other : other + size]
        elif kind == 5:
            put(count, first, extreme())
        else:
            put(pointer, start + size * entries, extreme())
    return bytes(changed)
