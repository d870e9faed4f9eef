"""Image artifacts: tar shards in the WebDataset layout (`<key>.<extension>` members), written once.

The bytes of a shard depend on its members alone: no times, owners or modes of the machine that wrote it.
"""

import io
import re
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from components.errors import BadInput
from components.storage import inputs
from components.storage.publish import atomic_file


@dataclass(frozen=True)
class Shard:
    """Part `index` of `count` equal parts of a stage's work; `--shard 0/4` on the command line."""

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Read `i/n`.

        Raises:
            BadInput: not of that form, or i is not in 0..n-1.
        """
        match = re.fullmatch(r"(\d+)/(\d+)", text)
        if not match or not 0 <= int(match[1]) < int(match[2]):
            raise BadInput(f"--shard {text}: expected i/n with 0 <= i < n, for example 0/4")
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @property
    def name(self) -> str:
        """File name stem, for example `00000-of-00004`."""
        return f"{self.index:05d}-of-{self.count:05d}"

    def take(self, ids: Iterable[str]) -> list[str]:
        """The ids of this part: every n-th of the sorted ids, so that parts are equal within one."""
        return sorted(ids)[self.index :: self.count]


def write_shard(path: Path, members: Iterable[tuple[str, bytes]]) -> None:
    """Publish a tar of `(name, content)` members, in the given order, atomically."""
    with atomic_file(path) as temporary, tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.mtime = len(content), 0o644, 0
            tar.addfile(entry, io.BytesIO(content))


class ShardReader:
    """Random access to the members of one tar shard; the offsets are read once.

    Raises:
        BadInput: the shard does not exist, is damaged, or lacks a member that is asked for.
        CorruptInput: it is an input of a task, and what the store holds is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        inputs.bring(path)
        try:
            with tarfile.open(path, "r:") as tar:
                self._places = {member.name: (member.offset_data, member.size) for member in tar}
        except (OSError, tarfile.TarError) as error:
            raise BadInput(f"shard {path} cannot be read ({error}); remove it and run its stage again") from error

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def size(self, name: str) -> int:
        """Bytes of member `name`."""
        return self._place(name)[1]

    def _place(self, name: str) -> tuple[int, int]:
        if name not in self._places:
            raise BadInput(f"shard {self.path} has no member {name}; its stage must run again")
        return self._places[name]

    def read(self, name: str) -> bytes:
        """Content of member `name`."""
        offset, size = self._place(name)
        with self.path.open("rb") as file:
            file.seek(offset)
            content = file.read(size)
        if len(content) != size:
            raise BadInput(f"shard {self.path} ends within member {name}; remove it and run its stage again")
        return content

    def image(self, name: str) -> NDArray[np.uint8]:
        """Member `name` decoded as an 8-bit RGB image `[H, W, 3]`."""
        return decode_png(self.read(name))


class ShardFolder:
    """Members of all tar shards of a folder, by shard name; shards are opened when first asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._readers: dict[str, ShardReader] = {}

    def __getitem__(self, shard: str) -> ShardReader:
        if shard not in self._readers:
            self._readers[shard] = ShardReader(self._folder / shard)
        return self._readers[shard]


def encode_png(image: NDArray[np.uint8]) -> bytes:
    """Lossless PNG bytes of an 8-bit RGB image `[H, W, 3]`; the same pixels give the same bytes."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG", compress_level=3)
    return buffer.getvalue()


def decode_png(content: bytes) -> NDArray[np.uint8]:
    """8-bit RGB image `[H, W, 3]` of PNG bytes."""
    with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
        return np.asarray(image.convert("RGB"))
