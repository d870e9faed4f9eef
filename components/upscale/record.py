"""What was restored already: a line a picture, beside the pictures, so that a second run goes on where one stopped."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from components.storage import digests
from components.storage.disk import tells_of_full_disk

FILE = ".dp2o-upscale.jsonl"


@dataclass(frozen=True)
class Done:
    """A picture that was restored.

    Attributes:
        target: relative to the folder of the record.
        source: sha256 of the photo's file.
        made_by: digest of the model and of all settings that determine the result.
        result: sha256 of the file that was written.
    """

    target: str
    source: str
    made_by: str
    result: str


class Record:
    """What a folder's record says. Lines that are damaged, as after a power cut, count as absent.

    Args:
        folder: where it lies, or will lie.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._done: dict[str, Done] = {}
        try:
            lines = (folder / FILE).read_bytes().splitlines()
        except OSError:
            lines = []
        for line in lines:
            try:
                one = Done(**json.loads(line))
            except (ValueError, TypeError):
                continue
            self._done[one.target] = one

    def of(self, target: Path) -> Done | None:
        """What is recorded of `target`, if that still is what was written; None also where somebody changed it."""
        done = self._done.get(self._name(target))
        try:
            return done if done is not None and digests.of_file(target) == done.result else None
        except OSError:
            return None

    def add(self, target: Path, source: str, made_by: str, result: str) -> None:
        """Record a picture that was written.

        Raises:
            DiskFull: there is no room for a line.
        """
        done = Done(self._name(target), source, made_by, result)
        path = self._folder / FILE
        with tells_of_full_disk(path), path.open("ab") as file:
            # A line that a power cut left unfinished must not swallow this one.
            start = b"\n" if file.tell() else b""
            file.write(start + json.dumps(asdict(done)).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self._done[done.target] = done

    def _name(self, target: Path) -> str:
        return target.relative_to(self._folder).as_posix()
