"""What reading one picture may take."""

from __future__ import annotations

from dataclasses import dataclass

from components.photos.unusable import Reason, UnusablePhotoError

BYTES_A_PIXEL = 40
"""Memory that decoding may take. 16 bits with alpha and a colour profile take 28."""
BESIDE_PIXELS = 2**28
"""Bytes that decoding may take beside the pixels."""
WAIT_FACTOR = 10.0
USUAL_SECONDS = 60.0
"""Of processor time; a hundred megapixels take five."""
BESIDE_PICTURE, BYTES_OF_A_PIXEL = 2**24, 16
"""Bytes of a file: metadata and previews, and twice what 16 bits with alpha take uncompressed."""


@dataclass(frozen=True)
class Limits:
    """Of one picture.

    Attributes:
        max_pixels: width × height.
        max_bytes: of the file.
        seconds: of processor time, so that a busy machine does not make a good picture a bad one.
    """

    max_pixels: int
    max_bytes: int
    seconds: float

    @classmethod
    def of(cls, max_pixels: int, seconds: float = USUAL_SECONDS) -> Limits:
        """Where a setting limits pixels alone: files of so many, and of twice the bytes that those can need."""
        return cls(max_pixels, BESIDE_PICTURE + BYTES_OF_A_PIXEL * max_pixels, seconds)

    def memory(self, size: int) -> int:
        """Bytes for a file of `size` bytes."""
        return BESIDE_PIXELS + BYTES_A_PIXEL * self.max_pixels + 2 * size

    @property
    def longest_wait(self) -> float:
        """Seconds on the clock after which a decoder sleeps, or does not get on."""
        return WAIT_FACTOR * self.seconds


def check_size(size: int, max_bytes: int) -> None:
    """Raises UnusablePhotoError if a file of `size` bytes is empty or has more than `max_bytes`."""
    if size == 0:
        raise UnusablePhotoError(Reason.EMPTY, "0 bytes")
    if size > max_bytes:
        raise UnusablePhotoError(Reason.TOO_LARGE, f"{size} bytes are more than max_bytes {max_bytes}")
