"""A project whose stages have made-up outputs: what a flow records does not depend on what is in them."""

import shutil
import subprocess
from pathlib import Path

from components.storage.store import Content, Store
from flows.project import Project
from tests.made import REPOSITORY, write_params

FOLDERS = {"data/dataset": ["00000.tar"], "data/candidates": ["00000-of-00001.tar"], "data/evaluation": ["images.tar"],
           "models/aligned": ["best/config.json", "last/config.json"]}  # fmt: skip
PHOTOS = ("cat.jpg", "cow.jpg")


def run(root: Path, *command: str) -> str:
    """Output of a command in `root`."""
    return subprocess.run(command, cwd=root, check=True, capture_output=True, text=True, timeout=300).stdout


def make_project(root: Path) -> Project:
    """The repository's own pipeline with two photos, in git and DVC."""
    root.mkdir(parents=True)
    shutil.copytree(REPOSITORY / "components", root / "components", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", ".dvcignore"):
        shutil.copy(REPOSITORY / name, root / name)
    (root / "data/photos").mkdir(parents=True)
    for name in PHOTOS:
        shutil.copy(REPOSITORY / "data/photos" / name, root / "data/photos" / name)
    write_params(root, pair={"top": 1})
    (root / ".gitignore").write_text("__pycache__/\n")
    run(root, "git", "init", "-q", "-b", "main")
    run(root, "git", "config", "user.name", "test")
    run(root, "git", "config", "user.email", "test@localhost")
    run(root, "dvc", "init", "-q")
    run(root, "git", "add", "-A")
    run(root, "git", "commit", "-qm", "project")
    return Project(root)


def outputs(project: Project, name: str, store: Store, folder: Path, word: str = "") -> dict[str, Content]:
    """Contents of made-up outputs of a stage, kept in the store."""
    made = {}
    for path in project.task(name, store.url).outputs:
        for file in [f"{path}/{inner}" for inner in FOLDERS[path]] if path in FOLDERS else [path]:
            target = folder / name / file
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(f"{word}{file} of {name}\n")
            made[file] = store.keep(target)
    return made


def record_all(project: Project, store: Store, folder: Path) -> None:
    """Record every stage that is out of date."""
    for name in project.stages:
        if project.stale(name):
            project.record(name, outputs(project, name, store, folder), store)
