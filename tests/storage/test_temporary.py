"""What dead processes leave is removed by the next one, and what live ones hold is not."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.serving.private import private_folder
from components.storage.publish import atomic_folder
from components.storage.temporary import held_folder, sweep

HOLDER = """
import sys, time
from pathlib import Path
from components.storage.publish import atomic_folder
with atomic_folder(Path(sys.argv[1])) as folder:
    (folder / "half").write_text("done")
    print("holds", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that is publishing tmp_path/model."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "model")], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "holds\n"
        yield process
        process.kill()


def test_a_killed_process_s_private_folder_goes_with_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gigabytes of weights, after a server that the kernel killed."""
    code = "import os; from components.serving.private import private_folder; private_folder(); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", code], env=os.environ | {"TMPDIR": str(tmp_path)}, check=False, timeout=300)
    assert len(names(tmp_path)) == 1
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    mine = [private_folder() for _ in range(2)]
    assert names(tmp_path) == sorted(folder.name for folder in mine)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_killed_publisher_s_folder_goes_with_the_next_and_a_live_one_s_stays(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    (left,) = names(tmp_path)
    with atomic_folder(tmp_path / "model") as folder:
        (folder / "whole").write_text("done")
    assert names(tmp_path) == sorted([left, "model"])
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert names(tmp_path) == sorted([left, "model"])
    with atomic_folder(tmp_path / "model") as folder:
        assert not (tmp_path / left).exists()
        (folder / "whole").write_text("again")
    assert names(tmp_path) == ["model"]
    assert names(tmp_path / "model") == ["whole"]


def test_nothing_else_is_swept(tmp_path: Path) -> None:
    others = ["model", ".model", ".model.json", ".model.abcdefg", ".model.ABCDEFGH", ".models.abcdefgh", "x.abcdefgh"]
    for name in others:
        (tmp_path / name).mkdir()
    (tmp_path / ".model.filefile").write_text("a file")
    (tmp_path / ".model.linklink").symlink_to(tmp_path / "model")
    (tmp_path / ".model.leftover").mkdir()
    assert [path.name for path in sweep(".model.", tmp_path)] == [".model.leftover"]
    assert names(tmp_path) == sorted([*others, ".model.filefile", ".model.linklink"])


def test_what_was_moved_aside_stays_where_there_is_nothing_in_its_place(tmp_path: Path) -> None:
    """A crash between the two renames: the old version is there, under a name of its own."""
    aside = tmp_path / ".model.old.abcdefgh"
    (aside / "old").mkdir(parents=True)
    with pytest.raises(KeyError), atomic_folder(tmp_path / "model"):
        raise KeyError
    assert (aside / "old").is_dir()
    for _ in range(2):
        with atomic_folder(tmp_path / "model"):
            pass
    assert names(tmp_path) == ["model"]


def test_a_folder_that_cannot_be_put_in_place_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with atomic_folder(tmp_path / "model") as folder:
        (folder / "weights").write_text("old")
    rename = Path.rename

    def fail(self: Path, target: Path) -> Path:
        if self.name.startswith(".model.") and target.name == "model":
            raise OSError("no more")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError, match="no more"), atomic_folder(tmp_path / "model"):
        pass
    assert (tmp_path / "model/weights").read_text() == "old"
    assert names(tmp_path) == ["model"]


def test_a_prefix_of_odd_characters_means_itself(tmp_path: Path) -> None:
    with held_folder(".a[b]*.", tmp_path) as folder:
        assert sweep(".a[b]*.", tmp_path) == []
        assert folder.is_dir()
    (tmp_path / ".a[b]*.abcdefgh").mkdir()
    assert len(sweep(".a[b]*.", tmp_path)) == 1
