"""Pictures are read in children: same pixels, and what ends or fills a child costs one picture."""

import io
import logging
import os
import signal
import time
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from components.photos import limits, wire
from components.photos.crops import choose_crops
from components.photos.decoder import Answer, Decoder
from components.photos.limits import Limits
from components.photos.reader import PhotoReader
from components.photos.reading import read_photo
from components.photos.unusable import Reason, UnusablePhotoError
from components.storage import digests

FUNCTIONS = tuple(
    f"tests.photos.functions:{name}"
    for name in ("environment", "spin", "sleep", "fall", "die", "fill", "chatter", "open_file")
)
LIMITS = Limits(max_pixels=1_000_000, max_bytes=1_000_000, seconds=20.0)


def photo(seed: int = 0, kind: str = "PNG", **options: object) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def reader() -> Iterator[PhotoReader]:
    with PhotoReader(LIMITS, 1, FUNCTIONS) as reader:
        yield reader


def hostile(reader: PhotoReader, function: str) -> str:
    with pytest.raises(UnusablePhotoError) as caught:
        reader.call(f"tests.photos.functions:{function}", photo(), "", 1)
    assert caught.value.reason is Reason.HOSTILE
    return caught.value.detail


def test_what_comes_back_is_what_reading_gives(reader: PhotoReader) -> None:
    for kind in ("PNG", "JPEG", "WEBP", "TIFF"):
        data = photo(1, kind)
        expected = read_photo(data, 1, 10_000)
        found = reader.pixels(data)
        np.testing.assert_array_equal(found, expected)
        found[0, 0] = 1  # it is the caller's own
        assert reader.digest(data) == digests.of_pixels(expected)
        crops = reader.crops(data, 16, 5)
        assert [(x, y) for x, y, _ in crops] == choose_crops(expected, 16, 5)
        for x, y, crop in crops:
            np.testing.assert_array_equal(crop, expected[y : y + 16, x : x + 16])
    assert reader.crops(photo(), 100, 5) == []


def test_a_bad_file_has_its_reason_and_the_child_lives_on(reader: PhotoReader) -> None:
    reader.pixels(photo())
    before = reader._idle[0].pid
    for data, reason in (
        (b"", "empty"),
        (b"x", "unreadable"),
        (photo()[:500], "truncated"),
        (bytes(10**6 + 1), "too_large"),
    ):
        with pytest.raises(UnusablePhotoError) as caught:
            reader.pixels(data)
        assert caught.value.reason == reason
    with pytest.raises(UnusablePhotoError, match="too_small"):
        reader.pixels(photo(), min_side=49)
    assert reader._idle[0].pid == before


def test_what_kills_a_decoder_costs_that_picture(reader: PhotoReader) -> None:
    good = reader.digest(photo(1))
    assert "SIGSEGV" in hostile(reader, "fall")
    assert reader.digest(photo(1)) == good
    assert "killed, as the kernel does when memory runs out" in hostile(reader, "die")
    assert reader.digest(photo(1)) == good


def test_what_ends_or_ought_to_end_an_idle_decoder_is_no_picture_s_fault(reader: PhotoReader) -> None:
    """As the kernel kills what is largest, and `timeout` sends SIGTERM to all processes of a command."""
    good = reader.digest(photo(1))
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        os.kill(reader._idle[0].pid, number)
        assert reader.digest(photo(1)) == good
    child = reader._idle[0]
    os.kill(child.pid, signal.SIGKILL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert reader.digest(photo(1)) == good


def test_a_decoder_that_was_taken_over_gives_a_picture_or_none(
    reader: PhotoReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = np.zeros((1, 16, 16, 3), np.uint8)
    for pixels in (np.zeros(()), np.zeros(3), np.zeros((4, 4, 4)), np.zeros((0, 4, 3))):
        monkeypatch.setattr(Decoder, "ask", lambda *_, made=pixels: Answer({}, made.astype(np.uint8)))
        with pytest.raises(UnusablePhotoError, match="no picture"):
            reader.pixels(photo())
    for corner in ([float("inf"), 0], [10**30, 0], [-1, 0]):
        monkeypatch.setattr(Decoder, "ask", lambda *_, made=corner: Answer({"corners": [made]}, cut))
        with pytest.raises(UnusablePhotoError, match="other crops"):
            reader.crops(photo(), 16, 1)


def test_what_fills_the_memory_is_refused_it(reader: PhotoReader) -> None:
    assert "decoding needs more than" in hostile(reader, "fill")
    assert reader.digest(photo(1)) == reader.digest(photo(1))


def test_what_takes_too_long_is_ended_by_its_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WAIT_FACTOR", 1000.0)  # on a busy machine a second is a long time
    with PhotoReader(Limits(10_000, 100_000, 0.2), 1, FUNCTIONS) as reader:
        assert "0.2 s of processor time" in hostile(reader, "spin")


def test_what_sleeps_is_ended_by_the_clock() -> None:
    with PhotoReader(Limits(10_000, 100_000, 0.2), 1, FUNCTIONS) as reader:
        started = time.monotonic()
        assert "longer than 2 s" in hostile(reader, "sleep")
        reader.pixels(photo())
        os.kill(reader._idle[0].pid, signal.SIGSTOP)  # it does not even read what it is asked
        with pytest.raises(UnusablePhotoError, match="longer than 2 s"):
            reader.pixels(photo())
        assert time.monotonic() - started < 60


SECRETS = (
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_WEB_IDENTITY_TOKEN_FILE",
    "MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "PREFECT_API_KEY",
    "PREFECT_API_AUTH_STRING", "HF_TOKEN", "GIT_TOKEN", "GITHUB_TOKEN", "SSH_AUTH_SOCK", "KUBECONFIG", "HTTPS_PROXY",
    "HOME", "DP2O_STORE", "DP2O_KEY", "SOMETHING_NEW",
)  # fmt: skip


def test_a_decoder_s_environment_has_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SECRETS:
        monkeypatch.setenv(name, f"canary-{name}")
    with PhotoReader(LIMITS, 1, FUNCTIONS) as reader:
        seen = reader.call("tests.photos.functions:environment", photo(), "", 1).values
    names = {name for name in seen["names"] if not name.startswith("QT_")}  # set by OpenCV when it is imported
    assert names <= {
        "PATH", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH",
        "PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS",
    }  # fmt: skip
    assert "canary" not in seen["values"]


def test_what_a_decoder_prints_is_no_answer(reader: PhotoReader) -> None:
    assert reader.call("tests.photos.functions:chatter", photo(), "", 1).values == {"said": True}
    np.testing.assert_array_equal(reader.pixels(photo(2)), read_photo(photo(2), 1, 10_000))


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\0" * 12,
        b"\xff" * 12,  # of sizes that would fill the memory
        b"\0\0\0\2" + bytes(8) + b"[]",
        b"\0\0\0\4" + bytes(8) + b"{}",
        b"\0\0\0\x02" + b"\0\0\0\0\0\0\0\x63" + b"{}",
        b"\0\x0f\0\0" + bytes(8) + b"[" * 0x0F0000,  # deeper than Python's stack
    ],
)
def test_a_message_that_is_none_is_refused(said: bytes) -> None:
    stream = io.BytesIO(said)
    if not said:
        assert wire.receive(stream, 100) is None
        return
    with pytest.raises(wire.WireError):
        wire.receive(stream, 98)


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"reason": "none of them", "detail": "x"},
        {"reason": ["truncated"]},
        {"values": {}, "shape": [2, 2, 3], "notes": []},
        {"values": {}, "shape": [-1, 3], "notes": []},
        {"values": {}, "shape": "abc", "notes": []},
        {"values": 1, "shape": [6], "notes": []},
        {"values": {}, "shape": [6], "notes": 5},
        {"values": {}, "shape": [float("inf")], "notes": []},
    ],
)
def test_a_forged_answer_costs_the_picture(answer: dict[str, object]) -> None:
    from components.photos.decoder import _parsed  # noqa: PLC0415

    with pytest.raises(wire.WireError):
        _parsed(answer, bytearray(6))


def test_order_is_kept_and_work_is_done_side_by_side() -> None:
    photos = [photo(seed) for seed in range(20)]
    photos[7] = b"no photo"
    with PhotoReader(LIMITS, 2) as reader:
        found = list(reader.each(photos, reader.digest))
        assert len(reader._idle) == 2
    assert [data for data, _ in found] == photos
    assert [str(outcome) for _, outcome in found if isinstance(outcome, UnusablePhotoError)] == [str(found[7][1])]
    assert found[3][1] == digests.of_pixels(read_photo(photos[3], 1, 10_000))


def test_another_error_of_the_work_ends_it() -> None:
    def work(item: int) -> int:
        raise KeyError(item)

    with PhotoReader(LIMITS, 1) as reader, pytest.raises(KeyError):
        list(reader.each([1, 2, 3], work))


def test_a_warning_is_told_with_the_photo_s_name_in_one_line(
    caplog: pytest.LogCaptureFixture, reader: PhotoReader
) -> None:
    with caplog.at_level(logging.WARNING):
        reader.pixels(photo(icc_profile=b"no profile"), "a\nb.png")
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("a\\nb.png: a colour profile cannot be used")


def test_children_end_with_the_reader() -> None:
    with PhotoReader(LIMITS, 1) as reader:
        reader.pixels(photo())
        pid = reader._idle[0].pid
        assert os.path.exists(f"/proc/{pid}")
    assert not os.path.exists(f"/proc/{pid}")


def test_a_python_that_does_not_start_is_told() -> None:
    functions = ("nowhere.to:be_found",)
    told = r"(?s)does not start: .*No module named 'nowhere'"
    with PhotoReader(LIMITS, 1, functions) as reader, pytest.raises(RuntimeError, match=told):
        reader.pixels(photo())
