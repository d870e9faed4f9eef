"""Finished candidates, kept outside the DVC outputs and found by everything that determines them."""

import json
import struct
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path

from components.storage import digests
from components.storage.cache import CacheFolder
from components.storage.publish import atomic_file

LENGTH = struct.Struct("<Q")


@dataclass(frozen=True)
class Entry:
    """One candidate.

    Attributes:
        image: PNG.
        latent: safetensors, see `artifacts.latents`; None where the backbone has no latent apart from its image.
    """

    image: bytes
    latent: bytes | None = None


class GroupCache:
    """One file a group: a JSON header with each blob's length and a digest of all, the PNGs, and the latents.

    A group is keyed by model, sampler, code, LR and prompt, not by M: asking for more candidates later makes only the
    new ones. A file that is cut short or altered is as good as absent.
    """

    def __init__(self, cache: CacheFolder, *determined_by: str) -> None:
        self._folder = cache.below("generate", digests.of_bytes("|".join(determined_by).encode())[:16])

    def read(self, lr_id: str, prompt: str) -> list[Entry]:
        """Candidates 0, 1, … made so far; empty where there are none."""
        path = self._path(lr_id, prompt)
        if not self._folder.fetch(path):
            return []
        content = path.read_bytes()
        try:
            (header_size,) = LENGTH.unpack_from(content)
            header = json.loads(content[LENGTH.size : LENGTH.size + header_size])
            images = header["sizes"]
            latents = header.get("latents", [0] * len(images))  # 0 = none: a latent has a header of its own
            start = LENGTH.size + header_size
            ends = pairwise(accumulate([*images, *latents], initial=start))
            blobs = [content[at:end] for at, end in ends]
            intact = header["sha256"] == digests.of_bytes(content[start:])
            intact = intact and len(content) == start + sum(images) + sum(latents)
            entries = [
                Entry(image, latent or None)
                for image, latent in zip(blobs[: len(images)], blobs[len(images) :], strict=True)
            ]
        except (struct.error, ValueError, LookupError, TypeError, AttributeError, OverflowError):
            return []
        return entries if intact else []

    def write(self, lr_id: str, prompt: str, entries: list[Entry]) -> None:
        """Keep candidates 0, 1, … of an LR."""
        latents = [entry.latent or b"" for entry in entries]
        blobs = b"".join([*(entry.image for entry in entries), *latents])
        fields = {"sizes": [len(entry.image) for entry in entries], "sha256": digests.of_bytes(blobs)}
        if any(latents):
            fields["latents"] = [len(latent) for latent in latents]
        header = json.dumps(fields).encode()
        path = self._path(lr_id, prompt)
        with atomic_file(path) as temporary:
            temporary.write_bytes(LENGTH.pack(len(header)) + header + blobs)
        self._folder.keep(path)

    def _path(self, lr_id: str, prompt: str) -> Path:
        return self._folder.path / lr_id[:2] / f"{lr_id}-{digests.of_bytes(prompt.encode())[:8]}.group"
