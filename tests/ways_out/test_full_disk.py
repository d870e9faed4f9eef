"""A disk that is full, a real and small one: each stage says so, nothing half-written is to be seen, and with room the
same command makes the same bytes."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from components.cli.app import app
from components.entry.main import run_stage
from components.errors import ExitCode
from components.settings import load_settings
from tests.ways_out.outputs import Unmade, made_by, remove

pytestmark = pytest.mark.slow
PAGE, WIDE = 4096, "64m"
CLI = [sys.executable, "-c", "import sys; from components.cli import main; sys.exit(main())"]


@dataclass(frozen=True)
class Disk:
    """A tmpfs, whose size changes at once."""

    folder: Path

    def _resize(self, size: str) -> None:
        command = ["mount", "-o", f"remount,size={size}", str(self.folder)]
        subprocess.run(command, check=True, capture_output=True, timeout=60)

    def leave(self, pages: int) -> None:
        """Let no more be written than so many pages."""
        state = os.statvfs(self.folder)
        self._resize(str((state.f_blocks - state.f_bfree) * state.f_frsize + pages * PAGE))

    def widen(self) -> None:
        self._resize(WIDE)

    def read_only(self, yes: bool) -> None:
        command = ["mount", "-o", f"remount,{'ro' if yes else 'rw'}", str(self.folder)]
        subprocess.run(command, check=True, capture_output=True, timeout=60)


@pytest.fixture
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disk]:
    """Empty and wide, and of one test alone: what MLflow leaves open in this process keeps a disk from read-only."""
    folder = tmp_path_factory.mktemp("disk")
    command = ["mount", "-t", "tmpfs", "-o", f"size={WIDE}", "dp2o-test", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode != 0:
        why = f"no disk to fill can be mounted here: {done.stderr.strip()}"
        if os.environ.get("CI"):  # which is root
            pytest.fail(why)
        pytest.skip(f"{why}; root can")
    yield Disk(folder)
    subprocess.run(["umount", "--lazy", str(folder)], check=True, timeout=60)


def _tells(said: str, command: str) -> None:
    assert f"dp2o {command}: " in said
    assert "No space left on device; make room on that disk and run the same command again" in said
    assert "`dp2o gc` shows and removes what nothing refers to, and the folder that run.cache names may go" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("stage", "pages"),
    [
        *(("prepare", pages) for pages in (0, 8)),
        *(("generate", pages) for pages in (0, 40)),
        *(("score", pages) for pages in (0, 3)),
        *(("pair", pages) for pages in (0, 1)),
        *(("train", pages) for pages in (0, 60)),
        *(("evaluate", pages) for pages in (0, 20)),
        *(("report", pages) for pages in (0, 20)),
        *(("register", pages) for pages in (0, 60)),
    ],
)
def test_a_stage_tells_it_and_ends_with_the_same_bytes(
    finished: Path, disk: Disk, capfd: pytest.CaptureFixture[str], stage: str, pages: int
) -> None:
    """With nothing left, and with too little for all that it makes."""
    project = Unmade.of(finished, disk.folder / "project", stage)
    disk.leave(pages)
    assert run_stage(stage, project.root / "params.yaml") is ExitCode.BAD_INPUT
    _tells(capfd.readouterr().err, stage)
    project.has_no_halves()
    disk.widen()
    assert run_stage(stage, project.root / "params.yaml") is ExitCode.OK, capfd.readouterr().err
    project.is_as_finished()


def test_what_the_message_says_may_go_makes_the_room(finished: Path, disk: Disk) -> None:
    root = Path(shutil.copytree(finished, disk.folder / "project"))
    for name in made_by("pair"):
        remove(root / name)
    disk.leave(0)
    assert run_stage("pair", root / "params.yaml") is ExitCode.BAD_INPUT
    shutil.rmtree(root / load_settings(root / "params.yaml").run.cache)
    assert run_stage("pair", root / "params.yaml") is ExitCode.OK
    assert (root / "data/pairs.parquet").read_bytes() == (finished / "data/pairs.parquet").read_bytes()


@pytest.mark.parametrize("stage", ["prepare", "pair", "register"])
def test_a_disk_that_takes_no_writes_is_told(
    finished: Path, disk: Disk, tmp_path: Path, capfd: pytest.CaptureFixture[str], stage: str
) -> None:
    """Root as well is refused there. Who copies the project, as the message says, gets on."""
    project = Unmade.of(finished, disk.folder / "project", stage)
    disk.read_only(True)
    assert run_stage(stage, project.root / "params.yaml") is ExitCode.BAD_INPUT
    said = capfd.readouterr().err
    assert re.search(r"cannot be (written|made): Read-only file system; look at the (folder's )?rights", said), said
    assert "Traceback" not in said
    copied = replace(project, root=Path(shutil.copytree(project.root, tmp_path / "copy")))
    assert run_stage(stage, copied.root / "params.yaml") is ExitCode.OK, capfd.readouterr().err
    copied.is_as_finished()


def test_upscale_leaves_no_half_of_a_picture(finished: Path, disk: Disk, tmp_path: Path) -> None:
    Image.new("RGB", (16, 12), (90, 120, 60)).save(tmp_path / "lr.png")
    output = disk.folder / "large.png"
    (disk.folder / "other").write_bytes(bytes(PAGE))  # a tmpfs of size 0 has no limit
    fixed = ["--params", str(finished / "params.yaml"), "--model", str(finished / "models/aligned/best")]
    command = ["upscale", str(tmp_path / "lr.png"), "-o", str(output), *fixed]
    disk.read_only(True)
    result = CliRunner().invoke(app, command)
    assert result.exit_code == ExitCode.BAD_INPUT
    assert "large.png cannot be written: Read-only file system; choose another --output" in result.stderr
    disk.read_only(False)
    disk.leave(0)
    result = CliRunner().invoke(app, command)
    assert result.exit_code == ExitCode.BAD_INPUT
    assert "large.png cannot be written: No space left on device; make room on that disk" in result.stderr
    assert [path.name for path in disk.folder.iterdir()] == ["other"]
    disk.widen()
    assert CliRunner().invoke(app, command).exit_code == ExitCode.OK
    assert Image.open(output).size == (64, 48)


def test_a_run_tells_it_of_dvcs_cache(disk: Disk) -> None:
    """The stage had room for what it makes, and DVC has none for keeping it."""
    root = disk.folder / "project"
    root.mkdir()
    make = f"{sys.executable} -c \"open('made', 'wb').write(bytes(2**20))\""
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"one": {"cmd": make, "outs": ["made"]}}}))
    subprocess.run([sys.executable, "-m", "dvc", "init", "--no-scm", "-q"], cwd=root, check=True, timeout=300)

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run([*CLI, "run"], cwd=root, capture_output=True, text=True, check=False, timeout=300)

    disk.leave(300)
    done = run()
    assert done.returncode == ExitCode.BAD_INPUT, done.stderr
    _tells(done.stderr, "run")
    disk.widen()
    done = run()
    assert done.returncode == ExitCode.OK, done.stderr
    assert (root / "made").stat().st_size == 2**20
