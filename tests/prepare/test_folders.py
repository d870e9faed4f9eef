"""Folders as people have them: links, names in any bytes, pipes, and what is not ours to read."""

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from components.prepare.stage import run
from tests.prepare.test_stage import _photo as make_photo
from tests.prepare.test_stage import _quarantine as quarantine_of
from tests.prepare.test_stage import _rows as rows_of
from tests.prepare.test_stage import _settings as made_settings


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for seed in range(6):
        make_photo(tmp_path / f"photos/{seed}.png", seed)
    return tmp_path


def test_folders_as_people_have_them(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Each file is used, or set aside with a reason, and the run goes on."""
    photos, outside = root / "photos", tmp_path_factory.mktemp("outside")
    make_photo(outside / "linked.png", 20)
    (photos / "holiday").symlink_to(outside)
    (photos / "again").symlink_to(photos)
    (photos / "gone.png").symlink_to(root / "nowhere.png")
    (photos / "self.png").symlink_to(photos / "self.png")
    os.mkfifo(photos / "pipe.jpg")
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(photos / "socket.png"))
    server.close()
    (photos / "nothing.png").write_bytes(b"")
    os.rename(photos / "0.png", os.fsencode(photos) + b"/caf\xe9.png")
    for number, name in enumerate(("line\nbreak.png", "-leading 'quote\".png", ".hidden.png")):
        (photos / f"{number + 1}.png").rename(photos / name)
    run(made_settings(), root)
    assert {row["source_name"] for row in rows_of(root)} == {
        "caf\\udce9.png", "line\\nbreak.png", "-leading 'quote\".png", ".hidden.png", "4.png", "5.png",
        "holiday/linked.png",
    }  # fmt: skip
    assert quarantine_of(root) == {
        "again": "link",
        "gone.png": "link",
        "self.png": "link",
        "pipe.jpg": "unsupported",
        "socket.png": "unsupported",
        "nothing.png": "empty",
    }


def test_what_is_not_ours_to_read_is_set_aside(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "photos/locked").mkdir()
    real_scan, real_access = os.scandir, os.access

    def scandir(path: Any) -> Any:
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied")
        return real_scan(path)

    monkeypatch.setattr("components.photos.folder.os.scandir", scandir)
    monkeypatch.setattr(
        "components.photos.folder.os.access", lambda path, mode: Path(path).name != "5.png" and real_access(path, mode)
    )
    run(made_settings(), root)
    assert quarantine_of(root) == {"locked": "unreadable", "5.png": "unreadable"}
    assert len({row["source"] for row in rows_of(root)}) == 5


def test_a_file_that_is_in_a_split_is_no_training_image_as_well(root: Path) -> None:
    run(made_settings(), root)
    before = {(row["source_name"], row["split"]) for row in rows_of(root)}
    run(made_settings(align_lr_sources=[Path("photos")]), root)
    assert {(row["source_name"], row["split"]) for row in rows_of(root)} == before
    assert set(quarantine_of(root).values()) == {"duplicate"}
