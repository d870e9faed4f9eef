import struct
from pathlib import Path

import pytest

from components.generate.cache import Entry, GroupCache
from components.storage.cache import CacheFolder

IMAGES = [Entry(b"first"), Entry(b""), Entry(b"third" * 100)]
WITH_LATENTS = [Entry(b"first", b"latent"), Entry(b"second", b"another" * 9)]


def test_what_was_written_comes_back(tmp_path: Path) -> None:
    cache = GroupCache(CacheFolder(tmp_path), "model", "sampler", "1")
    assert cache.read("abcd", "") == []
    cache.write("abcd", "", IMAGES)
    assert cache.read("abcd", "") == IMAGES
    assert GroupCache(CacheFolder(tmp_path), "model", "sampler", "1").read("abcd", "") == IMAGES


def test_latents_come_back_beside_their_images(tmp_path: Path) -> None:
    cache = GroupCache(CacheFolder(tmp_path), "model")
    cache.write("abcd", "", WITH_LATENTS)
    assert cache.read("abcd", "") == WITH_LATENTS
    (path,) = tmp_path.rglob("*.group")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert cache.read("abcd", "") == []


def test_everything_that_determines_a_candidate_is_in_the_key(tmp_path: Path) -> None:
    cache = GroupCache(CacheFolder(tmp_path), "model", "sampler", "1")
    cache.write("abcd", "a cat", IMAGES)
    assert cache.read("abce", "a cat") == []
    assert cache.read("abcd", "a dog") == []
    for other in (("model2", "sampler", "1"), ("model", "sampler2", "1"), ("model", "sampler", "2")):
        assert GroupCache(CacheFolder(tmp_path), *other).read("abcd", "a cat") == []


def test_damaged_entries_are_as_good_as_absent(tmp_path: Path) -> None:
    cache = GroupCache(CacheFolder(tmp_path), "model")
    cache.write("abcd", "", IMAGES)
    (path,) = tmp_path.rglob("*.group")
    whole = path.read_bytes()
    for size in range(0, len(whole), 13):
        path.write_bytes(whole[:size])
        assert cache.read("abcd", "") == [], size
    path.write_bytes(whole + b"x")
    assert cache.read("abcd", "") == []
    path.write_bytes(whole)
    assert cache.read("abcd", "") == IMAGES


@pytest.mark.parametrize("position", [0, 3, 10, 40, -1, -200])
def test_an_altered_byte_is_noticed(tmp_path: Path, position: int) -> None:
    """Wherever it is: in the length, the header or an image."""
    cache = GroupCache(CacheFolder(tmp_path), "model")
    cache.write("abcd", "", IMAGES)
    (path,) = tmp_path.rglob("*.group")
    content = bytearray(path.read_bytes())
    content[position] ^= 0x40
    path.write_bytes(content)
    assert cache.read("abcd", "") == []


@pytest.mark.parametrize(
    "header",
    [
        "[]",
        "7",
        "null",
        "{}",
        '{"sizes": 7, "sha256": ""}',
        '{"sizes": ["1"], "sha256": ""}',
        '{"sizes": [[]]}',
        '{"sizes": {"a": 1}, "sha256": ""}',
        '{"sizes": [1e300], "sha256": ""}',
        '{"sizes": [1], "latents": null}',
    ],
)
def test_a_header_of_another_kind_counts_as_absent(tmp_path: Path, header: str) -> None:
    cache = GroupCache(CacheFolder(tmp_path), "model")
    cache.write("abcd", "", IMAGES)
    (path,) = tmp_path.rglob("*.group")
    path.write_bytes(struct.pack("<Q", len(header)) + header.encode() + b"rest")
    assert cache.read("abcd", "") == []
