"""A bucket of its own on the S3 server that AWS_ENDPOINT_URL names, and hostile files to put into it."""

import io
import struct
import uuid
import zipfile
import zlib
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from components.storage.s3 import Client, connect
from tests.services.servers import S3


def new_bucket(versioned: bool = False) -> Iterator[tuple[Client, str]]:
    """Client and name of an empty bucket, which is removed afterwards."""
    client, bucket = connect(), f"dp2o-{uuid.uuid4().hex[:12]}"
    client.create_bucket(Bucket=bucket)
    if versioned:
        client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    yield client, bucket
    for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket):
        for entry in [*page.get("Versions", []), *page.get("DeleteMarkers", [])]:
            client.delete_object(Bucket=bucket, Key=entry["Key"], VersionId=entry["VersionId"])
    client.delete_bucket(Bucket=bucket)


def picture(seed: int = 0, width: int = 48, height: int = 40, kind: str = "PNG", **options: object) -> bytes:
    """A picture file of smooth noise; another seed is another picture."""
    generator = np.random.default_rng(seed)
    small = Image.fromarray(generator.integers(0, 256, (6, 6, 3), np.uint8))
    buffer = io.BytesIO()
    small.resize((width, height), Image.Resampling.BICUBIC).save(buffer, kind, **options)
    return buffer.getvalue()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_bomb(side: int = 50_000) -> bytes:
    """A PNG of some kB whose pixels would take 7.5 GB."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(b"\x00" * 1_000_000) for _ in range(20)) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def text_bomb() -> bytes:
    """A good PNG with a compressed text of 100 MB in it."""
    good = picture(90)
    packer = zlib.compressobj(9)
    text = b"".join(packer.compress(b"\x00" * 1_000_000) for _ in range(100)) + packer.flush()
    return good[:33] + _chunk(b"zTXt", b"Comment\x00\x00" + text) + good[33:]


def polyglot(script: bool = False) -> bytes:
    """A picture that is a ZIP archive as well, or a script."""
    buffer = io.BytesIO()
    if script:
        return picture(91, kind="JPEG", comment=b"<?php system($_GET['c']); ?>")
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("evil.sh", "rm -rf /")
    return picture(92) + buffer.getvalue()


def strip() -> bytes:
    """100,000 x 1 px."""
    buffer = io.BytesIO()
    Image.new("RGB", (100_000, 1), (9, 9, 9)).save(buffer, "PNG")
    return buffer.getvalue()


def hostile() -> dict[str, tuple[bytes, str]]:
    """Content and the reason expected, by key."""
    return {
        "bomb.png": (png_bomb(), "too_large"),
        "text-bomb.png": (text_bomb(), "unreadable"),
        "polyglot.png": (polyglot(), "hostile"),
        "script.jpg": (polyglot(script=True), "hostile"),
        "strip.png": (strip(), "too_small"),
        "truncated.png": (picture(93, 200, 200)[:-400], "truncated"),
        "empty.png": (b"", "empty"),
        "tool.exe": (picture(94), "unsupported"),
        "text.png": (b"I am no picture", "unreadable"),
        "film.gif": (_frames(), "multiple_frames"),
        "link.png -> etc/passwd": (b"/etc/passwd", "unreadable"),
        "large.png": (b"\x89PNG" + bytes(300_000), "too_large"),
    }


def _frames() -> bytes:
    buffer = io.BytesIO()
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "blue")]
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    return buffer.getvalue()


ODD_KEYS = [
    "../../etc/passwd.png",
    "ünï/写真 1.png",
    "a//b.png",
    "line\nbreak.png",
    "a/./b.png",
    "C:\\x.png",
    "/abs.png",
    "-rf",
]
"""Names that are no names of files; the pictures behind them are good."""


@pytest.fixture(scope="module")
def s3_environment(s3: S3) -> Iterator[None]:
    """The server's address and keys, where boto3 and child processes look for them."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3.environment.items():
            patch.setenv(name, value)
        yield


@pytest.fixture
def bucket(s3_environment: None) -> Iterator[tuple[Client, str]]:
    """See `new_bucket`."""
    yield from new_bucket()
