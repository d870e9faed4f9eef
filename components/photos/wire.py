"""What a process and its decoder say to each other: a header in JSON, then bytes. No pickles.

A decoder that a hostile file has taken over may say anything: nothing here makes more of it than numbers, text and
bytes, of no more than was asked for.
"""

from __future__ import annotations

import json
import struct
from io import BufferedReader
from typing import IO, Any, cast

_LENGTHS = struct.Struct(">IQ")
MOST_HEADER = 2**20
"""Bytes of a header."""


class WireError(Exception):
    """The other side said what it must not, or less than it announced."""


def send(stream: IO[bytes], header: dict[str, Any], body: bytes | memoryview = b"") -> None:
    """Write one message; `body` is contiguous bytes."""
    text = json.dumps(header).encode()
    stream.write(_LENGTHS.pack(len(text), len(body)))
    stream.write(text)
    stream.write(body)
    stream.flush()


def receive(stream: IO[bytes], most: int) -> tuple[dict[str, Any], bytearray] | None:
    """Read one message with a body of at most `most` bytes; None where the stream ends before it.

    Raises:
        WireError: the stream ends within it, or it is none.
    """
    start = stream.read(_LENGTHS.size)
    if not start:
        return None
    if len(start) < _LENGTHS.size:
        raise WireError("a message ends within its lengths")
    header_length, body_length = _LENGTHS.unpack(start)
    if header_length > MOST_HEADER or body_length > most:
        raise WireError(f"a message of {header_length} and {body_length} bytes is larger than any answer is")
    text, body = stream.read(header_length), bytearray(body_length)
    if len(text) < header_length or cast(BufferedReader, stream).readinto(body) < body_length:
        raise WireError("a message ends early")
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WireError("a message has no header") from error
    if not isinstance(header, dict):
        raise WireError("a message has no header")
    return header, body
