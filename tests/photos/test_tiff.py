"""Every kind of TIFF that tifffile writes: its pixels, or a refusal with the way out; never other pixels."""

import io
import struct
import time
from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from tifffile import imwrite

from components.photos.reading import read_photo
from components.photos.unusable import Reason, UnusablePhotoError

HEIGHT, WIDTH = 24, 40
SAMPLE_TYPES = ("bool", "uint8", "uint16", "uint32", "int8", "int16", "int32", "float16", "float32", "float64")
KINDS = {
    "minisblack": ("minisblack", 1, []),
    "miniswhite": ("miniswhite", 1, []),
    "grey and alpha": ("minisblack", 1, ["unassalpha"]),
    "rgb": ("rgb", 3, []),
    "rgb and alpha": ("rgb", 3, ["unassalpha"]),
    "rgb times alpha": ("rgb", 3, ["assocalpha"]),
    "rgb and something": ("rgb", 3, ["unspecified"]),
    "cmyk": ("separated", 4, []),
}
"""Photometric interpretation, its channels, and the extra samples."""

READ = {
    ("bool", "minisblack"), ("bool", "miniswhite"), ("int32", "minisblack"),
    *product(["uint8", "uint16"], ["minisblack", "miniswhite", "rgb", "rgb and alpha", "rgb times alpha", "cmyk"]),
    ("uint8", "grey and alpha"), ("uint8", "rgb and something"), ("uint16", "rgb and something"),
}  # fmt: skip
"""What is read in at least one layout; everything else is refused in each."""
ALWAYS_READ = {
    *product(["uint8", "uint16"], ["minisblack", "rgb", "rgb and alpha", "cmyk"]),
    ("uint8", "miniswhite"),
    ("int32", "minisblack"),
}
"""What is read in each layout."""

y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
COLOURS = np.stack([x * 255 // (WIDTH - 1), y * 255 // (HEIGHT - 1), (x + 2 * y) * 255 // 90 % 256], -1).astype(
    np.uint8
)
ALPHA = ((x + y) * 255 // (HEIGHT + WIDTH)).astype(np.uint8)[..., None]


def wanted(kind: str, of: str) -> NDArray[np.float64]:
    """RGB that a reader has to give, on white."""
    interpretation, channels, extra = KINDS[kind]
    if interpretation == "separated":
        return COLOURS.astype(np.float64)
    colours = COLOURS[..., : min(channels, 3)].astype(np.float64)
    if of == "bool":
        colours = (colours > 127) * 255.0
    if interpretation == "miniswhite":
        colours = 255.0 - colours
    if extra and extra != ["unspecified"]:
        opacity = ALPHA / 255.0
        colours = colours * opacity + 255.0 * (1.0 - opacity)
    return np.repeat(colours, 3, axis=-1) if channels == 1 else colours


def samples(kind: str, of: str) -> NDArray[Any]:
    """Samples [H, W, S] of the type `of`, over its range."""
    interpretation, channels, extra = KINDS[kind]
    if interpretation == "separated":
        eight_bit = np.concatenate([255 - COLOURS, np.zeros_like(ALPHA)], axis=-1)
    else:
        colours = COLOURS[..., :channels]
        if extra == ["assocalpha"]:
            colours = np.rint(colours * (ALPHA / 255.0)).astype(np.uint8)
        eight_bit = np.concatenate([colours, *[ALPHA] * len(extra)], axis=-1)
    if of == "bool":
        return eight_bit > 127
    if of.startswith("float"):
        return (eight_bit / 255.0).astype(of)
    scale = {"uint8": 1, "uint16": 257, "uint32": 16843009, "int16": 128, "int32": 257}
    return (eight_bit // 2).astype(of) if of == "int8" else (eight_bit.astype(np.int64) * scale[of]).astype(of)


def files(kind: str, of: str) -> Iterator[tuple[str, bytes]]:
    """That picture in every layout."""
    interpretation, channels, extra = KINDS[kind]
    for planar, compression, predictor, order, tile in product(
        ["contig", "separate"], [None, "deflate", "lzma"], [None, "horizontal"], "<>", [None, (16, 16)]
    ):
        single = channels + len(extra) == 1
        if (single and planar == "separate") or (predictor and (compression is None or of in ("bool", "float16"))):
            continue
        if predictor and of.startswith("float"):
            continue  # differences of floats are another predictor
        pixels = samples(kind, of)
        if single:
            pixels = pixels[..., 0]
        elif planar == "separate":
            pixels = np.moveaxis(pixels, -1, 0)
        buffer = io.BytesIO()
        imwrite(
            buffer, pixels, photometric=interpretation, planarconfig=None if single else planar, byteorder=order,
            compression=compression, predictor=predictor, tile=tile, extrasamples=extra or None, metadata=None,
        )  # fmt: skip
        yield f"{planar} {compression} {predictor} {order} {tile}", buffer.getvalue()


@pytest.mark.parametrize("of", SAMPLE_TYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_pixels_are_right_or_refused(kind: str, of: str) -> None:
    expected = wanted(kind, of)
    read, refused, wrong = [], {}, []
    for layout, data in files(kind, of):
        try:
            found = read_photo(data, 1, 10_000)
        except UnusablePhotoError as error:
            refused[layout] = error.reason
            continue
        read.append(layout)
        # two levels: products with alpha are rounded twice
        if found.shape != expected.shape or np.abs(found - expected).max() > 2:
            wrong.append(layout)
    assert wrong == []
    assert set(refused.values()) <= {Reason.UNSUPPORTED, Reason.UNREADABLE}
    assert bool(read) == ((of, kind) in READ)
    assert not refused or (of, kind) not in ALWAYS_READ


def written(pixels: NDArray[Any], **options: Any) -> bytes:
    buffer = io.BytesIO()
    imwrite(buffer, pixels, metadata=None, **options)
    return buffer.getvalue()


PLANES = np.moveaxis(samples("rgb", "uint16"), -1, 0)


def test_sixteen_bit_planes_are_no_stripes_and_keep_their_orientation() -> None:
    upright = read_photo(written(PLANES, photometric="rgb", planarconfig="separate"), 1, 10_000)
    assert np.array_equal(upright, COLOURS)
    turned = written(PLANES, photometric="rgb", planarconfig="separate", extratags=[(274, 3, 1, 6, True)])
    assert np.array_equal(read_photo(turned, 1, 10_000), np.rot90(COLOURS, -1))


def test_planes_that_are_cut_off_are_truncated() -> None:
    data = written(PLANES, photometric="rgb", planarconfig="separate")
    with pytest.raises(UnusablePhotoError) as caught:
        read_photo(data[: len(data) * 2 // 3], 1, 10_000)
    assert caught.value.reason is Reason.TRUNCATED


def test_what_nobody_here_decodes_is_refused_with_the_way_out() -> None:
    with pytest.raises(UnusablePhotoError, match="save it as 8 or 16 bit, grey or RGB") as caught:
        read_photo(written(samples("rgb", "float32"), photometric="rgb"), 1, 10_000)
    assert caught.value.reason is Reason.UNSUPPORTED
    with pytest.raises(UnusablePhotoError, match="signed 8-bit samples"):
        read_photo(written(samples("minisblack", "int8")[..., 0], photometric="minisblack"), 1, 10_000)


@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "tiff_adobe_deflate", "tiff_jpeg"])
def test_compressions_of_pillow_alone(compression: str) -> None:
    buffer = io.BytesIO()
    Image.fromarray(COLOURS).save(buffer, "TIFF", compression=compression)
    assert np.abs(read_photo(buffer.getvalue(), 1, 10_000).astype(int) - COLOURS).max() <= (
        40 if compression == "tiff_jpeg" else 0
    )


def directories(count: int, entries: int = 1, order: str = "<") -> bytes:
    """A grey picture whose first directory is followed by `count` more of `entries` entries each."""
    pixels = bytes(WIDTH * HEIGHT)
    tags = [(256, WIDTH), (257, HEIGHT), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, HEIGHT)]
    tags.append((279, len(pixels)))
    place = 8 + len(pixels)
    first = struct.pack(order + "H", len(tags)) + b"".join(struct.pack(order + "HHII", *(n, 4, 1, v)) for n, v in tags)
    size = 2 + 12 * entries + 4
    after = place + len(first) + 4
    more = b"".join(
        struct.pack(order + "H", entries)
        + struct.pack(order + "HHII", 305, 4, 1, 0) * entries
        + struct.pack(order + "I", after + size * (number + 1) if number + 1 < count else 0)
        for number in range(count)
    )
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", place)
    return start + pixels + first + struct.pack(order + "I", after if count else 0) + more


@pytest.mark.parametrize("order", "<>")
def test_a_second_directory_is_a_page_where_there_is_something_in_it(order: str) -> None:
    whole = read_photo(directories(0, order=order), 1, 10_000)
    assert whole.shape == (HEIGHT, WIDTH, 3)
    with pytest.raises(UnusablePhotoError) as caught:
        read_photo(directories(1, order=order), 1, 10_000)
    assert caught.value.reason is Reason.MULTIPLE_FRAMES


def test_an_empty_second_directory_is_none() -> None:
    data = directories(1, entries=0) + bytes(40_000)
    np.testing.assert_array_equal(read_photo(data, 1, 10_000), read_photo(directories(0), 1, 10_000))


def test_a_pointer_to_nowhere_or_back_is_no_page() -> None:
    data = directories(0)
    first = struct.unpack("<I", data[4:8])[0]
    for pointer in (first, len(data) + 5, 2**32 - 1, len(data) - 1):
        changed = data[:-4] + struct.pack("<I", pointer)
        assert read_photo(changed, 1, 10_000).shape == (HEIGHT, WIDTH, 3)


def test_directories_take_no_time() -> None:
    """Pillow counts them in quadratic time: 17 s for as many."""
    data = directories(250_000)
    assert len(data) > 4_000_000
    started = time.process_time()
    with pytest.raises(UnusablePhotoError, match="pages"):
        read_photo(data, 1, 10_000)
    assert time.process_time() - started < 1.0
