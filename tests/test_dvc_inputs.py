"""DVC over folders as people have them: what cannot be read is passed over, and what is linked is noticed."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from components.artifacts import tables
from components.pipeline.files import follow_settings
from components.pipeline.status import status_of
from components.storage.dvc_inputs import linked_folders
from tests.drawn import make_photos, tiny_params
from tests.made import photo

CLI = [sys.executable, "-c", "import sys; from components.cli import main; sys.exit(main())"]
PIPELINE = {
    "prepare": {
        "cmd": "python -m components.prepare",
        "deps": ["photos"],
        "params": ["prepare"],
        "outs": ["data/dataset", "data/dataset.parquet", "data/prompts.parquet", "data/quarantine.parquet"],
    }
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project of one stage, whose photos are of all kinds that a folder may hold."""
    root = tmp_path / "project"
    make_photos(root, count=6)
    (root / "params.yaml").write_text(yaml.safe_dump(tiny_params()))
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": PIPELINE}))
    subprocess.run([sys.executable, "-m", "dvc", "init", "--no-scm", "-q"], cwd=root, check=True, timeout=300)
    return root


def fill(photos: Path) -> None:
    """Put in what no picture is, or no name of DVC's."""
    (photos / "gone.png").symlink_to("nowhere.png")
    (photos / "self.png").symlink_to("self.png")
    (photos / "again").symlink_to(photos)
    os.mkfifo(photos / "pipe.jpg")
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(photos / "socket.png"))
    server.close()
    folder = os.fsencode(photos) + b"/d\xe9j\xe0"
    os.mkdir(folder)
    os.rename(photos / "0.png", folder + b"/vu\xff.png")


def run(root: Path) -> str:
    done = subprocess.run(
        [*CLI, "run", "prepare"], cwd=root, capture_output=True, text=True, errors="replace", check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
def test_a_run_uses_each_file_or_sets_it_aside(project: Path, tmp_path: Path) -> None:
    """And notices each change of what it used, in names that are no UTF-8 and behind links as well."""
    fill(project / "photos")
    outside = tmp_path / "outside"
    outside.mkdir()
    shutil.copy(project / "more/0.png", outside / "linked.png")
    (project / "photos/holiday").symlink_to(outside)
    first = run(project)
    assert "prepare depends on photos/holiday now" in first
    used = {row["source_name"] for row in tables.read_rows(project / "data/dataset.parquet", tables.DATASET)}
    assert {"d\\udce9j\\udce0/vu\\udcff.png", "holiday/linked.png", "1.png"} <= used
    aside = tables.read_rows(project / "data/quarantine.parquet", tables.QUARANTINE)
    assert {row["file"]: row["reason"] for row in aside} == {
        "again": "link",
        "gone.png": "link",
        "self.png": "link",
        "pipe.jpg": "unsupported",
        "socket.png": "unsupported",
    }
    assert status_of(project).out_of_date == {}
    odd = os.fsencode(project) + b"/photos/d\xe9j\xe0/vu\xff.png"
    for path in (odd, outside / "linked.png"):
        Image.fromarray(photo(np.random.default_rng(len(os.fspath(path))), 64)).save(tmp_path / "new.png")
        before = Path(os.fsdecode(path)).read_bytes()
        shutil.copy(tmp_path / "new.png", path)
        assert set(status_of(project).out_of_date) == {"prepare"}
        Path(os.fsdecode(path)).write_bytes(before)
        assert status_of(project).out_of_date == {}
    (project / "photos/holiday").unlink()
    assert follow_settings(project) == ["prepare depends on photos/holiday no more, as params.yaml names it no more"]
    assert set(status_of(project).out_of_date) == {"prepare"}


def test_links_to_folders_are_found_through_links(tmp_path: Path) -> None:
    photos, one, two = (tmp_path / name for name in ("photos", "one", "two"))
    for folder in (photos / "sub", one, two):
        folder.mkdir(parents=True)
    (photos / "sub/one").symlink_to(one)
    (one / "two").symlink_to(two)
    (two / "back").symlink_to(one)
    (photos / "up").symlink_to(tmp_path)
    (photos / "self").symlink_to("self")
    found = [path.relative_to(photos).as_posix() for path in linked_folders(photos)]
    assert [name for name in found if not name.startswith("up/")] == ["sub/one", "sub/one/two", "up"]
    assert linked_folders(tmp_path / "nowhere") == []
