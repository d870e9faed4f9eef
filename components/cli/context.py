"""What the commands share: settings and root, errors that people can act on, and how answers are told."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from components.errors import UserError, tell
from components.runtime.process import quiet_libraries, set_up_process, start_logging
from components.storage.disk import tells_of_full_disk

if TYPE_CHECKING:
    from components.settings import RegisterSettings, Settings

PIPELINE, MODELS, LOOK, OPERATE = "Pipeline", "Models", "Look", "Operate"
"""Groups of commands, as the help shows them."""

PARAMS = Path("params.yaml")
Params = Annotated[
    Path,
    typer.Option(
        "--params", help="Settings; all data are beside this file. Default: of the project around this folder."
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="block.key=value", help="A setting that says where and how, never what."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


@dataclass(frozen=True)
class Context:
    """The project that a command is about.

    Attributes:
        params: its params.yaml; all data are beside it.
        overrides: `block.key=value` of settings that say where and how.
    """

    params: Path
    overrides: tuple[str, ...] = ()

    @property
    def root(self) -> Path:
        """Folder that all paths of the settings are relative to."""
        return self.params.resolve().parent

    @cached_property
    def settings(self) -> "Settings":
        """Content of `params`, read when it is first asked for.

        Raises:
            BadInput: it is missing or wrong.
        """
        from components.settings import load_settings  # noqa: PLC0415

        return load_settings(self.params, self.overrides)

    @property
    def project(self) -> "tuple[Settings, Path]":
        """Settings and root, as most functions take them first."""
        return self.settings, self.root

    @property
    def registry(self) -> "tuple[RegisterSettings, Path]":
        """The same for functions of the registry alone."""
        return self.settings.register_, self.root


def found(params: Path) -> Path:
    """`params`; where it is the default and not here, that of the project around this folder."""
    if params != PARAMS or params.exists():
        return params
    around = (folder / PARAMS for folder in Path.cwd().parents if (folder / "dvc.yaml").is_file())
    return next((path for path in around if path.is_file()), params)


@contextmanager
def command(
    name: str,
    params: Path = PARAMS,
    overrides: Sequence[str] | None = None,
    *,
    logs: bool = False,
    computes: bool = False,
) -> Iterator[Context]:
    """Around the work of a command: errors that the user can act on become one message and an exit code.

    Args:
        name: as typed, without `dp2o`.
        params, overrides: see `Context`.
        logs: whether progress goes to stderr.
        computes: whether `run.threads` is applied first, for commands that load models.
    """
    if logs:
        start_logging()
    quiet_libraries()
    context = Context(found(params), tuple(overrides or ()))
    try:
        with tells_of_full_disk(context.root):
            if computes:
                set_up_process(context.settings)
            yield context
    except UserError as error:
        raise typer.Exit(tell(f"dp2o {name}", error)) from error


def examples(*lines: str) -> str:
    """Epilog of a command's help; blank lines keep typer from joining the lines."""
    return "\n\n".join(["Examples:", *lines])


def print_json(value: Any) -> None:
    """Indented JSON on stdout."""
    print(json.dumps(value, indent=2))


def show(as_json: bool, value: Any, text: str) -> None:
    """The answer on stdout: `value` for scripts, `text` for people."""
    if as_json:
        print_json(value)
    else:
        print(text)
