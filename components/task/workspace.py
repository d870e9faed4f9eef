"""The folder that a stage works in: its inputs are laid out there, and what it made is found there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from components.errors import BadInput, CorruptInput
from components.stages.invocation import Invocation
from components.storage import inputs, places
from components.storage.dvc_hash import dvc_md5, read_listing
from components.storage.store import Content, Store
from components.storage.temporary import held_folder
from components.task.document import Input, Task

CODE = Path(__file__).parents[2]
"""Where this code is: the repository, or /app in a container."""
WORKSPACE_VARIABLE = "DP2O_WORKSPACE"
INPUTS_LIST = ".inputs.json"
BROUGHT_WHEN_OPENED = ".tar"
"""Image shards are brought when they are opened; everything else is small, and brought first."""


@contextmanager
def workspace() -> Iterator[Path]:
    """A new folder in DP2O_WORKSPACE, removed in the end; those that dead processes left there are removed first."""
    base = os.environ.get(WORKSPACE_VARIABLE)
    if base:
        Path(base).mkdir(parents=True, exist_ok=True)
    with held_folder("dp2o-task-", Path(base or tempfile.gettempdir())) as folder:
        yield folder


def check_code(wanted: Sequence[Input], root: Path) -> None:
    """Compare what the task says of the code with what is here.

    Raises:
        BadInput: something differs: this container was built from another commit.
    """
    for entry in wanted:
        if entry.origin != "image":
            continue
        path = root / entry.path
        if not path.exists():
            raise BadInput(f"{entry.path} is not in this image: build it from the run's commit, or track it with DVC")
        found = dvc_md5(path)
        if found != entry.md5:
            raise BadInput(
                f"{entry.path} in this image is {found}, the run's commit has {entry.md5}: build the image from that "
                "commit, or run the commit that the image was built from"
            )


def bring_inputs(task: Task, store: Store, root: Path) -> dict[str, Content]:
    """Lay out the project as the stage expects it; what is left to be brought when it is opened.

    The code's own files are links: settings name weights that come with it by paths relative to the root.
    """
    (root / "params.yaml").write_text(task.params)
    if task.lock:
        (root / "dvc.lock").write_text(task.lock)
    (root / "components").symlink_to(CODE / "components")
    lazy: dict[str, Content] = {}
    for entry in task.inputs:
        if entry.origin == "image":
            if not (root / places.relative(entry.path)).exists():  # the code itself is there, by its link
                target = places.below(root, entry.path, "the task")
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(CODE / entry.path)
            continue
        places.below(root, entry.path, "the task")
        for path, content in contents(store, entry).items():
            place = places.below(root, path, f"the listing of {entry.path}")
            if path.endswith(BROUGHT_WHEN_OPENED):
                lazy[path] = content
                place.parent.mkdir(parents=True, exist_ok=True)
            else:
                store.fetch(content, place)
    inputs.list_inputs(root / INPUTS_LIST, store.url, root, lazy)
    return lazy


def contents(store: Store, entry: Input) -> dict[str, Content]:
    """Files of an input by path relative to the project's root; a folder's listing has no sizes, so -1 stands there.

    Raises:
        CorruptInput: the listing is damaged, or names other files than were recorded.
    """
    if not entry.md5.endswith(".dir"):
        return {entry.path: Content(entry.md5, entry.size, entry.sha256.get("", ""))}
    rows = read_listing(store.read_object(entry.md5), f"the listing of {entry.path}")
    if entry.sha256 and entry.sha256.keys() != rows.keys():
        store.set_aside(entry.md5)
        others = sorted(entry.sha256.keys() ^ rows.keys())
        raise CorruptInput(f"the listing of {entry.path} names other files than were recorded: {', '.join(others[:3])}")
    return {f"{entry.path}/{name}": Content(md5, -1, entry.sha256.get(name, "")) for name, md5 in rows.items()}


def made(root: Path, task: Task, invocation: Invocation) -> list[str]:
    """Files that the stage made, relative to the root.

    Raises:
        RuntimeError: a whole stage ended well without one of its outputs.
    """
    if invocation.action == "publish":
        name = invocation.shard.name if invocation.shard else ""
        return sorted(file.relative_to(root).as_posix() for file in (root / "data").rglob(f"{name}.*"))
    files: list[str] = []
    for output in task.outputs:
        path = root / output
        if path.is_dir():
            files += [file.relative_to(root).as_posix() for file in path.rglob("*") if file.is_file()]
        elif path.is_file():
            files.append(output)
        elif invocation.action == "run" and invocation.shard is None and not task.arguments:
            raise RuntimeError(f"{invocation.stage} ended well without {output}, which dvc.yaml says it makes")
    return sorted(files)
