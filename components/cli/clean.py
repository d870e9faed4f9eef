"""Remove what nothing that is kept refers to."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from components.cli.context import OPERATE, PARAMS, AsJson, Params, command, examples, show
from components.errors import BadInput

if TYPE_CHECKING:
    from components.cleaning.collect import Found

commands = typer.Typer()


@commands.command(
    "gc",
    rich_help_panel=OPERATE,
    epilog=examples(
        "dp2o gc   (what is free, and how much; removes nothing)",
        "dp2o gc --delete   (asks, then removes it)",
        "dp2o gc --older-than 7d --only cache --only dvc-cache --delete --yes",
        "dp2o gc --json | jq '.things[] | select(.bytes > 1e9)'",
    ),
)
def gc(
    delete: Annotated[bool, typer.Option("--delete", help="Remove it; without this nothing is removed.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    older_than: Annotated[
        str, typer.Option(help="What was written or used since stays: 30d, 12h, 4w. Work that is under way is young.")
    ] = "30d",
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="Of these places alone: mlflow, results, dvc-cache, dvc-remote, cache, shared-cache, logs. Several "
            "times."
        ),
    ] = None,
    all_commits: Annotated[
        bool, typer.Option("--all-commits", help="Keep what any commit names, not branches and tags alone.")
    ] = False,
    project: Annotated[
        list[Path] | None,
        typer.Option(
            help="Clone of another project that uses the same store: what it names stays, too. Several times."
        ),
    ] = None,
    params: Params = PARAMS,
    as_json: AsJson = False,
) -> None:
    """What no kept model version, branch, tag or lock refers to: in the cache, DVC's cache and remote, results of
    flows, and MLflow. Nothing is removed without --delete."""
    with command("gc", params) as context:
        from components.cleaning import text  # noqa: PLC0415
        from components.cleaning.collect import Wanted, collect, look  # noqa: PLC0415
        from components.cleaning.kinds import REMOVABLE  # noqa: PLC0415
        from components.pipeline.repro import check_repository  # noqa: PLC0415

        if unknown := sorted(set(only or ()) - set(REMOVABLE)):
            raise BadInput(f"--only {unknown[0]}: there is no such place; the places are {', '.join(REMOVABLE)}")
        if yes and not delete:
            raise BadInput("--yes belongs to --delete: without it nothing is removed")
        try:
            seconds = text.parsed_age(older_than)
        except ValueError as error:
            raise BadInput(f"--older-than {error}") from error
        check_repository(context.root)
        others = tuple(path.resolve() for path in project or ())
        wanted = Wanted(seconds, tuple(only or ()), all_commits, others)
        if delete:
            found = collect(*context.project, wanted, lambda found: _agreed(found, yes, as_json))
        else:
            found = look(*context.project, wanted)
    if not delete:
        show(as_json, text.as_json(found, deleted=False), text.table(found))
        return
    notes = "".join(f"\nnote: {note}" for note in found.notes)
    said = f"{len(found.entries)} things removed, {text.as_size(found.size)}{notes}"
    show(as_json, text.as_json(found, deleted=True), said)


def _agreed(found: Found, yes: bool, as_json: bool) -> bool:
    """Whether the user wants it; asked on the terminal.

    Raises:
        BadInput: there is nobody to ask.
    """
    from components.cleaning import text  # noqa: PLC0415

    if not as_json:
        print(text.table(found))
    if yes:
        return True
    if not sys.stdin.isatty():
        raise BadInput("nobody can be asked here: give --yes to remove it, or leave --delete out to look")
    return typer.confirm(f"Remove {len(found.entries)} things, {text.as_size(found.size)}?", err=True)
