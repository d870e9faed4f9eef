"""The watermark as a function of what was seen: nothing twice, nothing passed over."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from components.errors import BadInput
from components.intake.listing import SourceObject
from components.intake.watermark import Watermark, read, write
from components.storage.s3 import Place

START = datetime(2030, 1, 1, tzinfo=UTC)
OVERLAP = timedelta(hours=10)


def hour(number: float) -> datetime:
    return START + timedelta(hours=number)


def found(key: str, modified: float) -> SourceObject:
    return SourceObject(key, "", "etag", 1, hour(modified), hour(1000))


def handle(state: Watermark, objects: list[SourceObject], waiting: float | None = None) -> Watermark:
    done = [(one.identity, one.modified) for one in objects]
    return state.after(done, None if waiting is None else hour(waiting), OVERLAP)


def test_the_watermark_is_the_newest_handled_and_what_is_near_is_kept_by_identity() -> None:
    old, near = found("old", 0), found("near", 20)
    state = handle(Watermark(), [old, near])
    assert state == Watermark(hour(20), frozenset({near.identity}))
    assert not state.is_new(near, OVERLAP)
    assert not state.is_new(old, OVERLAP)  # passed: dated before the overlap
    assert state.is_new(found("late upload", 11), OVERLAP)
    assert state.is_new(SourceObject("near", "", "another etag", 1, hour(20), hour(1000)), OVERLAP)


def test_the_watermark_stops_before_what_waits() -> None:
    objects = [found("a", 30), found("b", 5)]
    state = handle(Watermark(), objects, waiting=8)
    assert state.time == hour(8)
    assert state.is_new(found("waits", 8), OVERLAP)
    assert not any(state.is_new(one, OVERLAP) for one in objects)


def test_it_never_goes_back_since_what_was_passed_is_forgotten() -> None:
    passed = found("passed", 0)
    state = handle(Watermark(), [passed, found("new", 30)])
    later = handle(state, [found("new", 30)], waiting=21)
    assert later.time == hour(30)
    assert not later.is_new(passed, OVERLAP)
    assert later.is_new(found("waits", 21), OVERLAP)


def test_a_backfill_leaves_the_time() -> None:
    state = handle(Watermark(), [found("a", 30)])
    after = state.after([(found("a", 30).identity, hour(30)), ("x", hour(2))], None, OVERLAP, backfill=True)
    assert after == state
    assert state.after([], None, OVERLAP).time == hour(30)


def test_the_file_has_every_source_and_the_same_bytes_for_the_same_state(tmp_path: Path) -> None:
    path, one, other = tmp_path / "intake.json", Place("b", "one/"), Place("b", "other/")
    state = Watermark(hour(1.5), frozenset({"f", "a"}))
    write(path, one, state)
    content = path.read_bytes()
    write(path, other, Watermark())
    write(path, one, state)
    assert read(path, one) == state
    assert read(path, other) == Watermark()
    assert read(path, Place("c", "")) == Watermark()
    path.unlink()
    write(path, one, Watermark(state.time, frozenset({"a", "f"})))
    assert path.read_bytes() == content
    path.write_text("{")
    with pytest.raises(BadInput, match="git checkout"):
        read(path, one)
