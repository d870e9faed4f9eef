"""The anchor of a history on a real S3 server: of writers at once one comes through, over what it had read."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from components.errors import BadInput
from components.registry.anchor import Anchored, S3Anchor, parsed
from components.storage.s3 import Client, Place
from tests.services.s3 import bucket, s3_environment  # noqa: F401


@pytest.fixture
def anchor(bucket: tuple[Client, str]) -> S3Anchor:  # noqa: F811
    return S3Anchor(Place(bucket[1], "anchor/"))


def test_it_is_written_over_what_was_read_and_over_nothing_else(anchor: S3Anchor) -> None:
    assert anchor.read("sr") == (None, None)
    assert anchor.write("sr", Anchored(1, "a" * 64), None)
    content, first = anchor.read("sr")
    assert parsed(content, "sr", str(anchor)) == Anchored(1, "a" * 64)
    assert not anchor.write("sr", Anchored(1, "b" * 64), None), "somebody was first"
    assert anchor.write("sr", Anchored(2, "c" * 64), first)
    assert not anchor.write("sr", Anchored(2, "d" * 64), first), "it is another by now"
    assert parsed(anchor.read("sr")[0], "sr", "") == Anchored(2, "c" * 64)


def test_of_many_writers_one_comes_through(anchor: S3Anchor) -> None:
    assert anchor.write("sr", Anchored(1, "0" * 64), None)
    for number in range(2, 5):
        _, read = anchor.read("sr")
        values = [Anchored(number, f"{writer:064x}") for writer in range(8)]
        with ThreadPoolExecutor(8) as pool:
            through = list(pool.map(anchor.write, ["sr"] * 8, values, [read] * 8))
        assert sum(through) == 1
        assert parsed(anchor.read("sr")[0], "sr", "") == values[through.index(True)]


def test_models_have_anchors_of_their_own_and_a_deleted_one_is_none(
    anchor: S3Anchor,
    bucket: tuple[Client, str],  # noqa: F811
) -> None:
    assert anchor.write("sr", Anchored(1, "a" * 64), None)
    assert anchor.read("other") == (None, None)
    _, read = anchor.read("sr")
    bucket[0].delete_object(Bucket=bucket[1], Key="anchor/sr.json")
    assert anchor.read("sr") == (None, None)
    assert not anchor.write("sr", Anchored(2, "b" * 64), read), "what was read is gone"


def test_a_bucket_that_is_not_there_is_an_error_and_no_empty_anchor(s3_environment: None) -> None:  # noqa: F811
    with pytest.raises(BadInput, match="NoSuchBucket"):
        S3Anchor(Place("dp2o-there-is-none", "anchor/")).read("sr")
