"""The key of a run on one machine: one for all that begin at once, whole or not there."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from components.errors import BadInput
from flows.run_key import FILE, SHORTEST, VARIABLE, run_key


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


def test_all_that_begin_at_once_have_one_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(size: int) -> bytes:
        time.sleep(0.01)
        return os.urandom(size)

    monkeypatch.setattr("secrets.token_bytes", slow)
    for attempt in range(5):
        folder = tmp_path / str(attempt)
        with ThreadPoolExecutor(8) as threads:
            keys = set(threads.map(run_key, [folder] * 8))
        assert keys == {(folder / FILE).read_bytes()}
        assert len(keys.pop()) == SHORTEST
        assert [path.name for path in folder.iterdir()] == [FILE]
        assert (folder / FILE).stat().st_mode & 0o077 == 0


def test_without_links_there_is_a_key_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr(os, "link", refused)
    assert run_key(tmp_path) == run_key(tmp_path) == (tmp_path / FILE).read_bytes()


def test_what_is_no_key_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / FILE).write_bytes(b"")
    with pytest.raises(BadInput, match="is no key of ours: remove it"):
        run_key(tmp_path)
    (tmp_path / FILE).unlink()
    assert len(run_key(tmp_path)) == 32
    monkeypatch.setenv(VARIABLE, "short")
    with pytest.raises(BadInput, match="give it 32 random ones"):
        run_key(tmp_path)
    monkeypatch.setenv(VARIABLE, "0123456789abcdef" * 2)
    assert len(run_key(tmp_path)) >= 32
