import tarfile
from pathlib import Path

import numpy as np
import pytest

from components.artifacts.shards import Shard, ShardFolder, ShardReader, decode_png, encode_png, write_shard
from components.errors import BadInput

MEMBERS = [("a.png", b"12345"), ("a.txt", b""), ("b.png", b"x" * 2000)]


@pytest.mark.parametrize("text", ["0/1", "0/4", "3/4", "11/12"])
def test_parse(text: str) -> None:
    assert str(Shard.parse(text)) == text


@pytest.mark.parametrize("text", ["4/4", "1/0", "-1/4", "1", "a/b", "1/4/2", "", "0.5/1", " 0/4"])
def test_parse_refuses(text: str) -> None:
    with pytest.raises(BadInput, match="expected i/n with 0 <= i < n, for example 0/4"):
        Shard.parse(text)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 20])
def test_parts_are_disjoint_complete_and_equal_within_one(count: int) -> None:
    ids = [f"{number * 7919 % 1000:03d}" for number in range(17)]
    parts = [Shard(index, count).take(ids) for index in range(count)]
    assert sorted(lr_id for part in parts for lr_id in part) == sorted(ids)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert parts == [Shard(index, count).take(reversed(ids)) for index in range(count)]


def test_name() -> None:
    assert Shard(0, 4).name == "00000-of-00004"


def test_members_come_back_at_random(tmp_path: Path) -> None:
    write_shard(tmp_path / "0.tar", MEMBERS)
    reader = ShardReader(tmp_path / "0.tar")
    assert list(reader) == [name for name, _ in MEMBERS]
    assert "b.png" in reader
    assert "c.png" not in reader
    for name, content in reversed(MEMBERS):
        assert reader.read(name) == content
    with pytest.raises(BadInput, match=r"0\.tar has no member c\.png"):
        reader.read("c.png")


def test_bytes_depend_on_the_members_alone(tmp_path: Path) -> None:
    write_shard(tmp_path / "a/0.tar", MEMBERS)
    write_shard(tmp_path / "b/1.tar", iter(MEMBERS))
    assert (tmp_path / "a/0.tar").read_bytes() == (tmp_path / "b/1.tar").read_bytes()
    with tarfile.open(tmp_path / "a/0.tar") as tar:
        for member in tar:
            assert (member.mtime, member.uid, member.gid, member.uname, member.gname, member.mode) == (
                (0, 0, 0, "", "", 0o644)
            )


def test_an_exception_while_members_are_made_publishes_nothing(tmp_path: Path) -> None:
    def failing() -> object:
        yield MEMBERS[0]
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        write_shard(tmp_path / "0.tar", failing())  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_missing_damaged_and_cut_shards_are_named(tmp_path: Path) -> None:
    shards = ShardFolder(tmp_path)
    with pytest.raises(BadInput, match=r"shard .*none\.tar cannot be read"):
        shards["none.tar"]
    (tmp_path / "text.tar").write_bytes(b"this is no tar file" * 100)
    with pytest.raises(BadInput, match=r"shard .*text\.tar cannot be read .* run its stage again"):
        shards["text.tar"]
    write_shard(tmp_path / "cut.tar", MEMBERS)
    whole = (tmp_path / "cut.tar").read_bytes()
    reader = shards["cut.tar"]
    (tmp_path / "cut.tar").write_bytes(whole[:2500])
    with pytest.raises(BadInput, match=r"cut\.tar ends within member b\.png"):
        reader.read("b.png")
    with pytest.raises(BadInput, match=r"cut\.tar"):
        ShardReader(tmp_path / "cut.tar").read("b.png")


def test_png_is_lossless_and_its_bytes_are_stable(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    content = encode_png(image)
    assert np.array_equal(decode_png(content), image)
    assert encode_png(np.asfortranarray(image)) == content
    write_shard(tmp_path / "0.tar", [("a.png", content)])
    assert np.array_equal(ShardFolder(tmp_path)["0.tar"].image("a.png"), image)
