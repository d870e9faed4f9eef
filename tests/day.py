"""A day of a user's in one process, as imports take seconds: `python -m tests.day FOLDER` prints what each command said
and how it ended, as JSON.

FOLDER has `photos`, and `tiny.yaml` with settings that work in a moment. The project is made by `dp2o init`, works, is
asked from elsewhere and beside a run, is moved, and is copied.
"""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

from components.cli import main

STAGES = ("prepare", "generate", "score", "pair", "train", "evaluate", "report", "register")
MODEL = "models:/sr-dev@candidate"
ASKED = (("results", "--json"), ("status", "--json"), ("plan", "--json"), ("history",), ("models", "list"))


class Step(NamedTuple):
    """A command, and what came of it.

    Attributes:
        at: name of the folder that it was typed in.
        code: exit code.
    """

    words: list[str]
    at: str
    code: int
    out: str
    err: str


def say(*words: str, at: Path) -> Step:
    """Type a command in the folder `at`."""
    os.chdir(at)
    out, code = StringIO(), 0
    with _stderr() as said, redirect_stdout(out):
        try:
            main(*words)
        except SystemExit as error:
            code = int(error.code or 0)
    return Step(list(words), at.name, code, out.getvalue(), said[0])


@contextmanager
def _stderr() -> Iterator[list[str]]:
    """All that is written to stderr within, by libraries in C and by child processes as well."""
    said: list[str] = []
    kept = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield said
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            file.seek(0)
            said.append(file.read().decode(errors="replace"))


@contextmanager
def _run_at_work(project: Path) -> Iterator[None]:
    """DVC's locks, as `dp2o run` holds them while a stage works."""
    import zc.lockfile  # noqa: PLC0415

    folder = project / ".dvc/tmp"
    folder.mkdir(exist_ok=True)
    held = zc.lockfile.LockFile(str(folder / "lock"))
    writes = {str(project / "data/scores.parquet"): {"pid": os.getpid(), "cmd": "dp2o run"}}
    (folder / "rwlock").write_text(json.dumps({"read": {}, "write": writes}))
    yield
    (folder / "rwlock").unlink()
    held.close()


def live(folder: Path) -> list[Step]:
    """The whole day."""
    project, photo = folder / "first", str(folder / "photos/1.png")
    steps = [say("init", str(project), "--photos", str(folder / "photos"), at=folder)]
    shutil.copy(folder / "tiny.yaml", project / "params.yaml")
    steps += [say(stage, at=project) for stage in STAGES]
    steps += [say("upscale", photo, "-o", "here.png", at=project)]
    with _run_at_work(project):
        steps += [say(*words, at=project) for words in ASKED]
    inner = project / "notes/deep"
    inner.mkdir(parents=True)
    steps += [say(*words, at=inner) for words in ASKED]
    steps += [say(*words, "--params", str(project / "params.yaml"), at=folder) for words in ASKED]
    moved = project.rename(folder / "moved")
    copied = Path(shutil.copytree(moved, folder / "copied"))
    for place in (copied, moved):
        steps += [say("promote", "--json", at=place), say("upscale", photo, "-o", "x.png", "--model", MODEL, at=place)]
    return steps


if __name__ == "__main__":
    started: Any = Path(sys.argv.pop()).resolve()  # `main` reads the rest
    print(json.dumps([step._asdict() for step in live(started)]))
