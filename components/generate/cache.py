"""Finished candidates, kept outside the DVC outputs and found by everything that determines them."""

import json
import struct
from pathlib import Path

from components.artifacts import digests
from components.artifacts.publish import atomic_file

LENGTH = struct.Struct("<Q")


class GroupCache:
    """One file a group: a JSON header with each blob's length, a digest of all, and the PNGs in index order.

    A group is keyed by model, sampler, code, LR and prompt, not by M: asking for more candidates later makes only the
    new ones. A file that is cut short or altered is as good as absent.
    """

    def __init__(self, folder: Path, *determined_by: str) -> None:
        self._folder = folder / "generate" / digests.of_bytes("|".join(determined_by).encode())[:16]

    def read(self, lr_id: str, prompt: str) -> list[bytes]:
        """PNGs of the candidates 0, 1, … made so far; empty where there are none."""
        path = self._path(lr_id, prompt)
        if not path.is_file():
            return []
        content = path.read_bytes()
        try:
            (header_size,) = LENGTH.unpack_from(content)
            header = json.loads(content[LENGTH.size : LENGTH.size + header_size])
            blobs, at = [], LENGTH.size + header_size
            for size in header["sizes"]:
                blobs.append(content[at : at + size])
                at += size
            intact = header["sha256"] == digests.of_bytes(b"".join(blobs)) and at == len(content)
        except (struct.error, ValueError, KeyError):
            intact = False
        return blobs if intact else []

    def write(self, lr_id: str, prompt: str, images: list[bytes]) -> None:
        """Keep the PNGs of candidates 0, 1, … of an LR."""
        header = json.dumps(
            {"sizes": [len(image) for image in images], "sha256": digests.of_bytes(b"".join(images))}
        ).encode()
        with atomic_file(self._path(lr_id, prompt)) as temporary:
            temporary.write_bytes(LENGTH.pack(len(header)) + header + b"".join(images))

    def _path(self, lr_id: str, prompt: str) -> Path:
        return self._folder / lr_id[:2] / f"{lr_id}-{digests.of_bytes(prompt.encode())[:8]}.group"
