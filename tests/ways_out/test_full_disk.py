"""A disk that is full, a real and small one: each stage says so, nothing half-written is to be seen, and with room the
same command makes the same bytes."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from components.cli.app import app
from components.entry import run_stage
from components.errors import ExitCode
from components.registry.tracking import connected
from components.settings import load_settings
from tests.made import REPOSITORY

pytestmark = pytest.mark.slow
PAGE, WIDE = 4096, "64m"
DIFFERS = {"reports/throughput.csv", "reports/registration.json"}
"""What two runs make differently: speed, and the id of MLflow's run."""
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


@pytest.fixture(scope="module")
def mounted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disk]:
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


@pytest.fixture
def disk(mounted: Disk) -> Iterator[Disk]:
    """Empty, and wide."""
    yield mounted
    mounted.widen()
    for path in mounted.folder.iterdir():
        _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _files(root: Path) -> dict[str, bytes]:
    """All of a project but locks, by their paths."""
    paths = (path for path in sorted(root.rglob("*")) if path.is_file() and path.suffix != ".lock")
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}


def _made_by(stage: str) -> list[str]:
    """What dvc.yaml says that it makes."""
    entry = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"][stage]
    named = [out for kind in ("outs", "metrics", "plots") for out in entry.get(kind, [])]
    return [out if isinstance(out, str) else next(iter(out)) for out in named]


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
    root = disk.folder / "project"
    shutil.copytree(finished, root, ignore=shutil.ignore_patterns("cache", "mlflow.db", "mlartifacts"))
    made = _made_by(stage)
    for name in made:
        _remove(root / name)
    before, whole = _files(root), _files(finished)
    disk.leave(pages)
    assert run_stage(stage, root / "params.yaml") is ExitCode.BAD_INPUT
    _tells(capfd.readouterr().err, stage)
    new = {name: content for name, content in _files(root).items() if before.get(name) != content}
    work = {name for name in new if name.startswith(("cache/train/", "mlartifacts/", "mlflow.db"))}  # has times in it
    assert [name for name in new.keys() - work - DIFFERS if whole.get(name) != new[name]] == []
    assert before.items() <= _files(root).items()
    disk.widen()
    assert run_stage(stage, root / "params.yaml") is ExitCode.OK, capfd.readouterr().err
    after = _files(root)
    expected = {name for name in whole if any(name == out or name.startswith(f"{out}/") for out in made)}
    assert expected
    assert [name for name in expected - DIFFERS if after.get(name) != whole[name]] == []
    assert expected <= after.keys()
    if stage == "register":
        settings = load_settings(root / "params.yaml").register_
        with connected(settings, root) as client:
            assert [found.version for found in client.search_model_versions()] == [1]
    strange = (
        after.keys() - whole.keys() - {name for name in after if name.startswith(("mlartifacts/", "cache/train/"))}
    )
    assert strange == set()


def test_what_the_message_says_may_go_makes_the_room(finished: Path, disk: Disk) -> None:
    root = Path(shutil.copytree(finished, disk.folder / "project"))
    for name in _made_by("pair"):
        _remove(root / name)
    disk.leave(0)
    assert run_stage("pair", root / "params.yaml") is ExitCode.BAD_INPUT
    shutil.rmtree(root / load_settings(root / "params.yaml").run.cache)
    assert run_stage("pair", root / "params.yaml") is ExitCode.OK
    assert (root / "data/pairs.parquet").read_bytes() == (finished / "data/pairs.parquet").read_bytes()


def test_upscale_leaves_no_half_of_a_picture(finished: Path, disk: Disk, tmp_path: Path) -> None:
    Image.new("RGB", (16, 12), (90, 120, 60)).save(tmp_path / "lr.png")
    output = disk.folder / "large.png"
    fixed = ["--params", str(finished / "params.yaml"), "--model", str(finished / "models/aligned/best")]
    command = ["upscale", str(tmp_path / "lr.png"), "-o", str(output), *fixed]
    disk.leave(0)
    result = CliRunner().invoke(app, command)
    assert result.exit_code == ExitCode.BAD_INPUT
    assert "large.png cannot be written: No space left on device; make room on that disk" in result.stderr
    assert list(disk.folder.iterdir()) == []
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
