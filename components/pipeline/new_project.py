"""A project of one's own outside of a checkout: `dp2o init`.

Its pipeline is the repository's, but for the code: that is the installed package's, and `code.yaml` says of each stage
which code it was, so that another version of the package makes stages run again, and the same one nothing.
"""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import yaml

from components import template
from components.errors import BadInput
from components.pipeline.files import editor, follow_settings
from components.storage import digests, git
from components.storage.publish import atomic_folder, write_text

CODE_FILE = "code.yaml"
BASE = Path("base")
"""Folder of the base model, whose files the package brings."""
PHOTOS = Path("photos")

IGNORED = """\
/cache/
/photos/
/mlflow.db
/mlruns/
/mlartifacts/
/data/*.parts/
__pycache__/
"""
DVC_CONFIG = """\
[core]
    analytics = false
    autostage = false
"""
ABOUT_PIPELINE = """\
# The pipeline, and what depends on what. The code is the installed package's: code.yaml stands for it.
"""
ABOUT_CODE = "# Which code each stage runs, as a digest: written by `dp2o run`, and never by hand.\n"


def create(folder: Path, photos: Sequence[Path]) -> bool:
    """Make a project in `folder`: settings, pipeline, base model, git and DVC.

    Args:
        folder: does not exist, or is empty.
        photos: folders of photos; without any, `photos` in the project, which is made.

    Returns:
        Whether git has it as a first commit: it refuses where it does not know who the user is.

    Raises:
        BadInput: `folder` has something in it, a folder of photos is none, or git is not installed.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadInput(f"{folder} is there already and not empty: name a folder that is to be made")
    for photo_folder in photos:
        if not photo_folder.is_dir():
            raise BadInput(f"--photos {photo_folder}: there is no such folder")
    if shutil.which("git") is None:
        raise BadInput("git is not installed, and DVC needs it: install git, and run the same again")
    sources = [str(path.resolve()) for path in photos] or [PHOTOS.as_posix()]
    try:
        with atomic_folder(folder) as new:
            _write(new, sources)
            git.output(new, "init", "-q")
            _call(new, sys.executable, "-m", "dvc", "init", "-q")
            (new / ".dvc/config").write_text(DVC_CONFIG)
            git.output(new, "add", "-A")
            return git.call(new, "commit", "-q", "-m", "A project of dp2o").returncode == 0
    except OSError as error:
        raise BadInput(f"{folder} cannot be made: {error}") from error


def _write(new: Path, sources: list[str]) -> None:
    yaml_editor = editor()
    params = yaml_editor.load((template.FOLDER / "params.yaml").read_text())
    base = BASE / Path(params["backbone"]["path"]).name
    shutil.copytree(template.CODE / params["backbone"]["path"], new / base)
    params["prepare"]["sources"] = _inline(sources)
    params["backbone"]["path"] = base.as_posix()
    pipeline = yaml_editor.load((template.FOLDER / "dvc.yaml").read_text())
    for name, stage in pipeline["stages"].items():
        for path in [path for path in stage["deps"] if path.startswith(("components/", "data/photos"))]:
            stage["deps"].remove(path)
        stage["params"].append({CODE_FILE: [name]})
    pipeline["stages"]["prepare"]["deps"][:] = sources
    for path, document, head in (("params.yaml", params, ""), ("dvc.yaml", pipeline, ABOUT_PIPELINE)):
        text = StringIO()
        yaml_editor.dump(document, text)
        body = text.getvalue()
        (new / path).write_text(head + (body[body.index("stages:") :] if head else body))
    (new / ".gitignore").write_text(IGNORED)
    if sources == [PHOTOS.as_posix()]:
        (new / PHOTOS).mkdir()
    refresh(new, always=True)
    follow_settings(new)  # the base model's folder


def _inline(values: list[str]) -> Any:
    """The list as it stands in params.yaml, within a line."""
    from ruamel.yaml.comments import CommentedSeq  # noqa: PLC0415

    found = CommentedSeq(values)
    found.fa.set_flow_style()
    return found


def refresh(root: Path, always: bool = False) -> None:
    """Say in code.yaml which code is installed, where the project has that file."""
    file = root / CODE_FILE
    if not always and not file.is_file():
        return
    text = ABOUT_CODE + yaml.safe_dump(code_digests(), sort_keys=False)
    if not file.is_file() or file.read_text() != text:
        write_text(file, text)


def code_digests() -> dict[str, str]:
    """Of each stage, a digest over the files of the package that the repository's pipeline lets it depend on."""
    stages = yaml.safe_load((template.FOLDER / "dvc.yaml").read_text())["stages"]
    known: dict[str, str] = {}
    return {
        name: digests.of_json([_digest(path, known) for path in stage["deps"] if path.startswith("components/")])[:16]
        for name, stage in stages.items()
    }


def _digest(dependency: str, known: dict[str, str]) -> str:
    if dependency not in known:
        path = template.CODE / dependency
        files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
        code = [file for file in files if "__pycache__" not in file.parts]
        known[dependency] = digests.of_json(
            [(file.relative_to(template.CODE).as_posix(), digests.of_file(file)) for file in code]
        )
    return known[dependency]


def _call(folder: Path, *command: str) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BadInput(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
