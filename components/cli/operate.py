"""What keeps a model in production good: new images, drift, monitoring."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from components.cli.context import OPERATE, PARAMS, AsJson, Params, command, examples, show
from components.errors import ExitCode

commands = typer.Typer()


@commands.command(
    rich_help_panel=OPERATE,
    epilog=examples(
        "dp2o intake   (what arrived since the last time)",
        "dp2o intake --dry-run --json   (judge, write nothing)",
        "dp2o intake --since 2030-01-01 --until 2030-02-01   (look at that month again, at what was set aside, too)",
    ),
)
def intake(
    since: Annotated[datetime | None, typer.Option(help="Backfill: objects dated from then on, UTC.")] = None,
    until: Annotated[datetime | None, typer.Option(help="Backfill: objects dated before then, UTC.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Backfill of all that is there.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Judge, but write nothing, here or in S3.")] = False,
    params: Params = PARAMS,
    as_json: AsJson = False,
) -> None:
    """Take in new LR images from S3; what cannot be used goes to the quarantine prefix with a reason."""
    with command("intake", params, logs=True) as context:
        from components.intake.stage import run_intake  # noqa: PLC0415

        settings, root = context.project
        chosen = settings.intake.model_dump() | {"everything": everything, "dry_run": dry_run}
        chosen |= {"since": since or settings.intake.since, "until": until or settings.intake.until}
        limits = type(settings.intake).model_validate(chosen)
        report = run_intake(settings.model_copy(update={"intake": limits}), root)
    show(as_json, report.model_dump(mode="json"), report.text)


@commands.command(
    rich_help_panel=OPERATE,
    epilog=examples("dp2o drift && xdg-open reports/drift.html", "dp2o drift --json | jq .decision"),
)
def drift(params: Params = PARAMS, as_json: AsJson = False) -> None:
    """Compare what came in since the last training with the training set: train again or not."""
    with command("drift", params, logs=True) as context:
        from components.artifacts import paths  # noqa: PLC0415
        from components.drift.stage import run_drift  # noqa: PLC0415

        report = run_drift(*context.project)
    show(as_json, report.model_dump(mode="json"), f"{report.decision.text}; {paths.DRIFT_PAGE}")


@commands.command(
    rich_help_panel=OPERATE,
    epilog=examples(
        "dp2o monitor s3://production/pairs/",
        "dp2o monitor /data/pairs --sample 500 --json | jq '.rows[] | select(.verdict != \"yes\")'",
    ),
)
def monitor(
    pairs: Annotated[
        str | None,
        typer.Argument(help="Folder or s3:// prefix with <name>.lr.png and <name>.sr.png; default: settings."),
    ] = None,
    sample: Annotated[int | None, typer.Option(min=1, help="Most pairs; the newest.")] = None,
    params: Params = PARAMS,
    as_json: AsJson = False,
) -> None:
    """Score what the champion restored in production against its gate's record; exit code 3 if it is not healthy."""
    with command("monitor", params, logs=True) as context:
        from components.artifacts import paths  # noqa: PLC0415
        from components.monitor.command import run_monitor  # noqa: PLC0415

        settings, root = context.project
        if pairs is not None and "://" not in pairs:
            pairs = str(Path(pairs).absolute())  # what is typed is relative to where it is typed
        changes = {name: value for name, value in (("pairs", pairs), ("sample", sample)) if value is not None}
        watched = type(settings.monitor).model_validate(settings.monitor.model_dump() | changes)
        health = run_monitor(settings.model_copy(update={"monitor": watched}), root)
    show(as_json, health.as_json(), f"{health.text}; {paths.MONITOR_PAGE}")
    if not health.healthy:
        raise typer.Exit(ExitCode.REFUSED)
