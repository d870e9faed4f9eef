"""Nothing half-written is visible under its final name, after an exception or a kill."""

import signal
import stat
import subprocess
import sys
import textwrap
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from components.errors import BadInput
from components.storage.publish import atomic_file, atomic_folder, write_json, write_text


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_whole_and_readable(tmp_path: Path) -> None:
    path = tmp_path / "new/folder/a.json"
    with atomic_file(path) as temporary:
        temporary.write_text("1")
        assert temporary.parent == path.parent  # a rename within one file system
        assert temporary.suffix == path.suffix
        assert not path.exists()
    assert path.read_text() == "1"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert names(path.parent) == ["a.json"]


def test_an_exception_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(ValueError, match="half"), atomic_file(path) as temporary:  # noqa: PT012
        temporary.write_text("ne")
        raise ValueError("half")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_folder_replaces_the_old_one_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "model"
    for name in ("first", "second"):
        with atomic_folder(path) as temporary:
            (temporary / "inner").mkdir()
            (temporary / "inner" / name).write_text(name)
    assert names(path / "inner") == ["second"]
    assert names(tmp_path) == ["model"]
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((path / "inner").stat().st_mode) == 0o755


def test_an_exception_leaves_the_old_folder(tmp_path: Path) -> None:
    path = tmp_path / "model"
    with atomic_folder(path) as temporary:
        (temporary / "weights").write_text("old")
    with pytest.raises(KeyError), atomic_folder(path) as temporary:  # noqa: PT012
        (temporary / "weights").write_text("new")
        raise KeyError("half")
    assert (path / "weights").read_text() == "old"
    assert names(tmp_path) == ["model"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_kill_while_writing_leaves_the_old_content(tmp_path: Path, kind: str) -> None:
    script = f"""
        import os, signal
        from pathlib import Path
        from components.storage.publish import atomic_{kind}

        def write(text):
            with atomic_{kind}(Path({str(tmp_path / "it")!r})) as temporary:
                place = temporary / "inner" if {kind == "folder"} else temporary
                place.write_text(text)
                if text == "new":
                    os.kill(os.getpid(), signal.SIGKILL)

        write("old")
        write("new")
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=False, timeout=300)
    assert done.returncode == -signal.SIGKILL
    place = tmp_path / "it/inner" if kind == "folder" else tmp_path / "it"
    assert place.read_text() == "old"
    left = [name for name in names(tmp_path) if name != "it"]
    assert len(left) == 1
    assert left[0].startswith(".it.")  # hidden, so no reader and no glob of names takes it for content


@pytest.mark.parametrize("write", [atomic_file, atomic_folder])
def test_a_file_where_a_folder_should_be_is_named(
    tmp_path: Path, write: Callable[[Path], AbstractContextManager[Path]]
) -> None:
    (tmp_path / "a.png").write_text("a photo")
    message = r"new cannot be written: .*a\.png is a file and no folder"
    with pytest.raises(BadInput, match=message), write(tmp_path / "a.png/deep/new"):
        raise AssertionError("there is nothing to write to")
    with write(tmp_path / "another/new") as place:  # as the message says
        place.mkdir(exist_ok=True) if place.is_dir() else place.write_text("made")
    assert (tmp_path / "another/new").exists()


def test_json_has_no_nan(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": [1.5, None]})
    assert (tmp_path / "a.json").read_text() == '{\n  "b": [\n    1.5,\n    null\n  ]\n}\n'
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "a.json", float("nan"))
    assert names(tmp_path) == ["a.json"]
    assert "1.5" in (tmp_path / "a.json").read_text()
