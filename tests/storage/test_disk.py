"""A full disk is told by name, whatever library found it, and what was there stays."""

import errno
import os
import sqlite3
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from components.entry.main import run_stage
from components.errors import DiskFull, ExitCode
from components.storage import disk, publish
from components.storage.cache import CacheFolder
from components.storage.disk import full_disk, unwritable
from components.storage.publish import atomic_folder, write_text
from components.train.checkpoints import TrainingState, newest, save
from tests.drawn import make_photos, write


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
        sqlite3.OperationalError("database or disk is full"),
    ],
)
def test_libraries_say_it_in_many_ways(error: Exception, tmp_path: Path) -> None:
    told = full_disk(error, tmp_path / "x")
    assert told is not None
    assert "x cannot be written" in str(told)
    wrapped = RuntimeError("the stage failed")
    wrapped.__cause__ = error
    assert full_disk(wrapped, tmp_path) is not None
    assert full_disk(OSError(errno.EACCES, "no"), tmp_path) is None


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 64 vs 0"),
        FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp', '/var/tmp', '/srv/project']"),
    ],
)
def test_a_failed_write_counts_where_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    assert full_disk(error, tmp_path) is None
    monkeypatch.setattr(disk, "_free", lambda place: 0)
    assert full_disk(error, tmp_path) is not None


def test_missing_rights_are_told_where_something_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rights that a file lacks which is read are another matter: whoever reads it knows what it is."""
    error = PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    assert unwritable(error, tmp_path / "x", tmp_path) is None  # root may write here
    monkeypatch.setattr(os, "access", lambda *_: False)
    told = unwritable(error, tmp_path / "x", tmp_path)
    assert str(told).endswith(
        f"x cannot be written: Permission denied; look at the rights of {tmp_path}, or copy the project to where you "
        "may write"
    )
    assert unwritable(error, tmp_path) is None
    assert unwritable(OSError(errno.EROFS, os.strerror(errno.EROFS)), tmp_path) is not None


def full(path: Path) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_what_was_there_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(tmp_path / "a.txt", "before")
    with atomic_folder(tmp_path / "b") as folder:
        (folder / "c").write_text("before")
    with monkeypatch.context() as patch:
        patch.setattr(publish, "_sync", full)
        with pytest.raises(DiskFull, match=r"a\.txt cannot be written: No space left on device; make room"):
            write_text(tmp_path / "a.txt", "after")
        with pytest.raises(DiskFull), atomic_folder(tmp_path / "b") as folder:
            (folder / "c").write_text("after")
    assert [(tmp_path / name).read_text() for name in ("a.txt", "b/c")] == ["before", "before"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "b"]


def test_training_keeps_the_checkpoint_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = CacheFolder(tmp_path)
    save(cache, TrainingState(1, {"w": torch.zeros(2)}, {}))
    with monkeypatch.context() as patch:
        patch.setattr(disk, "_free", lambda place: 0)
        patch.setattr(torch, "save", lambda *_: (_ for _ in ()).throw(RuntimeError("unexpected pos 64 vs 0")))
        with pytest.raises(DiskFull):
            save(cache, TrainingState(2, {"w": torch.ones(2)}, {}))
    found = newest(cache)
    assert found is not None
    assert found.step == 1


def test_a_stage_tells_it_and_goes_on_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_photos(tmp_path)
    write(tmp_path, {})
    with monkeypatch.context() as patch:
        patch.setattr(publish, "_sync", full)
        assert run_stage("prepare", tmp_path / "params.yaml") is ExitCode.BAD_INPUT
    said = capsys.readouterr().err
    assert "dp2o prepare: " in said
    assert "No space left on device; make room on that disk" in said
    assert "Traceback" not in said
    assert not (tmp_path / "data/dataset.parquet").exists()
    assert run_stage("prepare", tmp_path / "params.yaml") is ExitCode.OK
