"""Content digests: the names by which pixels, files, weights and settings are known."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def of_bytes(content: bytes) -> str:
    """Hex sha256 of `content`."""
    return hashlib.sha256(content).hexdigest()


def of_file(path: Path) -> str:
    """Hex sha256 of a file, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def of_json(value: Any) -> str:
    """Hex sha256 of a JSON-able value; key order does not matter."""
    return of_bytes(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())


def of_pixels(image: NDArray[np.uint8]) -> str:
    """First 16 hex digits of the sha256 over shape and pixels of an 8-bit image `[H, W, 3]`.

    This is `lr_id` when the image is an LR: the same picture has the same id whatever its file format or name.
    """
    digest = hashlib.sha256(f"{image.dtype}{image.shape}".encode())
    digest.update(np.ascontiguousarray(image))  # type: ignore[arg-type]  # in place: a large photo fills memory
    return digest.hexdigest()[:16]


def seed_of(*parts: object) -> int:
    """A 63-bit seed that depends on `parts` alone: the source of all randomness tied to an identity.

    The parts are joined with a separator that none of them contains, so `("a", 12)` and `("a1", 2)` differ.
    """
    return int.from_bytes(hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()[:8], "big") >> 1
