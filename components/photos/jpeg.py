"""JPEG files that libjpeg completes with grey, or with what came last, where their pixels are missing or damaged.

libjpeg warns of it and goes on, and Pillow does not pass the warning on: a file that was cut and then closed properly
looks whole to it. Here all of the file's coded data is read once more with libjpeg-turbo, which costs a third of a
decoding, since at an eighth of the size no pixel has to be computed.

A progressive file that ends between two of its scans is whole to libjpeg, and to this: coarser, without a hole.
"""

from __future__ import annotations

from simplejpeg import decode_jpeg, decode_jpeg_header

from components.photos.unusable import Reason, UnusablePhotoError

DAMAGE = (
    "premature end", "bad huffman code", "bad arithmetic code", "instead of rst", "inconsistent progression",
)  # fmt: skip
"""In libjpeg's warnings (jerror.h) of pixels that are not those that were coded. The others are of harmless oddities:
bytes too many at the end, as some cameras write, or an unknown revision of JFIF."""
_FULL_SIZE_COLOURS = ("CMYK", "YCCK")


def check_whole(data: bytes) -> None:
    """Say whether all pixels of a JPEG file are there.

    Raises:
        UnusablePhotoError: they end before the picture does, or are damaged.
    """
    try:
        colours = decode_jpeg_header(data)[2]
        colourspace = "CMYK" if colours in _FULL_SIZE_COLOURS else "GRAY"
        decode_jpeg(data, colorspace=colourspace, min_height=1, min_width=1, strict=True)
    except ValueError as warning:
        if any(words in str(warning).lower() for words in DAMAGE):
            raise UnusablePhotoError(
                Reason.TRUNCATED, f"the file's pixels end early or are damaged (libjpeg: {warning})"
            ) from warning
        # of what libjpeg-turbo's simpler interface does not take, the decoder itself decides
