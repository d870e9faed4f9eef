"""Where the end of a history is kept outside the registry, so that who may write the registry cannot shorten it.

An anchor says how many records there are and holds the digest of all of them. It is written by whoever wrote a record,
before anything follows from that record, and only over the anchor that was read: of two writers the server lets one
through. Every reader compares.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from components.errors import HistoryBroken
from components.storage.s3 import Place, connect, put_if, read_object, s3_errors

Token = Any
"""What the anchor was when it was read; only over that it is written."""


@dataclass(frozen=True)
class Anchored:
    """The newest record's number, and the digest of all records up to it."""

    number: int
    digest: str


class Anchor(Protocol):
    """A place for anchors of histories, by the name of their production model."""

    def __str__(self) -> str:
        """For people."""

    def read(self, name: str) -> tuple[bytes | None, Token]:
        """The file that is there, None where none is.

        Raises:
            BadInput, ResumeLater: the place refuses, or is away.
        """

    def write(self, name: str, value: Anchored, after: Token) -> bool:
        """Write over what was read with that token; False where another came first."""


def as_bytes(name: str, value: Anchored) -> bytes:
    """The anchor's file."""
    return (json.dumps({"model": name, **asdict(value)}, indent=2) + "\n").encode()


def parsed(content: bytes | None, name: str, place: str) -> Anchored | None:
    """The anchor that a file holds; None of none.

    Raises:
        HistoryBroken: it holds none, or that of another model.
    """
    if content is None:
        return None
    try:
        values = json.loads(content)
        if values["model"] != name:
            raise ValueError(f"it is that of {values['model']}")
        return Anchored(int(values["number"]), str(values["digest"]))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise HistoryBroken(
            f"the anchor of {name}-history at {place} is damaged ({error}): restore it, or, if the history is known to "
            "be whole, `dp2o history --anchor` writes it anew"
        ) from error


@dataclass(frozen=True)
class S3Anchor:
    """An object a model; conditional writes keep two writers apart."""

    place: Place

    def __str__(self) -> str:
        return str(self.place)

    def read(self, name: str) -> tuple[bytes | None, Token]:
        """See `Anchor`."""
        with s3_errors(f"anchor of the history, {self}"):
            found = read_object(connect(), self.place.bucket, self._key(name))
        return (None, None) if found is None else found

    def write(self, name: str, value: Anchored, after: Token) -> bool:
        """See `Anchor`."""
        with s3_errors(f"anchor of the history, {self}"):
            etag = put_if(connect(), self.place.bucket, self._key(name), as_bytes(name, value), after)
        return etag is not None

    def _key(self, name: str) -> str:
        return f"{self.place.prefix}{name}.json"
