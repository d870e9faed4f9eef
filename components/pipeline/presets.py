"""Ready-made settings: one command makes params.yaml another run, and never loses what was there."""

from pathlib import Path

from components import template
from components.errors import BadInput
from components.storage import git
from components.storage.publish import write_text

FOLDER = template.FOLDER / "presets"


def names() -> list[str]:
    """Presets there are."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def title(name: str) -> str:
    """One line about a preset: the first of its file."""
    return (FOLDER / f"{name}.yaml").read_text().partition("\n")[0].removeprefix("# ").partition(": ")[0]


def apply(name: str, params: Path, force: bool = False) -> None:
    """Make `params` the preset's settings.

    Raises:
        BadInput: there is no such preset; or `params` has changes that are neither a preset's nor committed, and
            `force` is not given.
    """
    if name not in names():
        raise BadInput(f"there is no preset {name!r}; the presets are {', '.join(names())}")
    if params.is_file() and not force and not _kept_elsewhere(params):
        raise BadInput(
            f"{params} has changes that would be lost: commit them (`git diff {params.name}` shows them), "
            "copy the file, or give --force"
        )
    write_text(params, (FOLDER / f"{name}.yaml").read_text())


def _kept_elsewhere(params: Path) -> bool:
    """Whether the content of `params` can be had again: from a preset, or from the last commit."""
    content = params.read_text()
    if any(content == (FOLDER / f"{name}.yaml").read_text() for name in names()):
        return True
    committed = git.call(params.resolve().parent, "show", git.END, f"HEAD:./{params.name}")
    return committed.returncode == 0 and committed.stdout == content
