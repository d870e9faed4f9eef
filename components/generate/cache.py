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
        return self._folder.read(self._path(lr_id, prompt), _entries) or []

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


def _entries(content: bytes) -> list[Entry]:
    """The candidates in a file.

    Raises:
        ValueError: it is cut short or altered.
    """
    try:
        (header_size,) = LENGTH.unpack_from(content)
        header = json.loads(content[LENGTH.size : LENGTH.size + header_size])
        images = header["sizes"]
        latents = header.get("latents", [0] * len(images))  # 0 = none: a latent has a header of its own
        start = LENGTH.size + header_size
        blobs = [content[at:end] for at, end in pairwise(accumulate([*images, *latents], initial=start))]
        intact = header["sha256"] == digests.of_bytes(content[start:])
        if intact and len(content) == start + sum(images) + sum(latents):
            made = zip(blobs[: len(images)], blobs[len(images) :], strict=True)
            return [Entry(image, latent or None) for image, latent in made]
    except (struct.error, ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"its header is none ({error})") from error
    raise ValueError("its digest is another")
