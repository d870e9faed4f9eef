"""The pipeline and its stages."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from components.cli.context import PARAMS, PIPELINE, Overrides, Params, command, examples
from components.entry.main import run_stage
from components.errors import BadInput
from components.stages import STAGES

commands = typer.Typer()


@commands.command(
    rich_help_panel=PIPELINE,
    epilog=examples("dp2o init holiday --photos /data/holiday && cd holiday && dp2o run", "dp2o init empty"),
)
def init(
    folder: Annotated[Path, typer.Argument(help="To be made; its photos go to its folder `photos`.")],
    photos: Annotated[
        list[Path] | None, typer.Option(help="A folder of photos, used where it is; several times.")
    ] = None,
) -> None:
    """Make a project outside of a checkout, which is one: settings, pipeline, base model, git and DVC."""
    with command("init"):
        from components.metrics.weights import provide  # noqa: PLC0415
        from components.pipeline.new_project import PHOTOS, create  # noqa: PLC0415
        from components.storage.packages import weights_folder  # noqa: PLC0415

        print(provide(weights_folder()))
        committed = create(folder, photos or [])
    print(f"{folder} is a project. Its settings are {folder / 'params.yaml'}.")
    if not committed:
        print("nothing is committed yet, as git does not know you: git config --global user.name (and .email)")
    first = "" if photos else f"Put photos into {folder / PHOTOS}, then: "
    print(f"{first}cd {folder} && dp2o run")


STAGE_EXAMPLES = {
    "prepare": ["dp2o prepare"],
    "generate": ["dp2o generate", "dp2o generate --shard 0/4   (a quarter of the work, into the cache)"],
    "score": ["dp2o score", "dp2o score --shard 1/4"],
    "pair": ["dp2o pair"],
    "train": ["dp2o train", "accelerate launch --config_file launch/ddp.yaml -m components.train   (several GPUs)"],
    "evaluate": ["dp2o evaluate"],
    "report": ["dp2o report && xdg-open reports/index.html"],
    "register": ["dp2o register", "MLFLOW_TRACKING_URI=http://mlflow:5000 dp2o register"],
}


@commands.command(
    rich_help_panel=PIPELINE,
    epilog=examples(
        "dp2o run", "dp2o run evaluate   (that stage and what it needs)", "dp2o run --force train --single"
    ),
)
def run(
    stages: Annotated[
        list[str] | None, typer.Argument(help="Stages to bring up to date; all where none is named.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Run even what is up to date.")] = False,
    single: Annotated[bool, typer.Option("--single", help="Only the named stages, not what they need.")] = False,
    params: Params = PARAMS,
) -> None:
    """Bring the pipeline up to date: `dvc repro`, with the exit code of the stage that failed.

    Settings, photos, model and metrics are looked at first: what cannot work is refused before any stage begins.
    Folders that params.yaml names and dvc.yaml does not are added to the latter, so that a change in them is noticed;
    those that are named no more leave it.
    """
    from components.in_use.folder import in_use  # noqa: PLC0415
    from components.pipeline.files import follow_settings  # noqa: PLC0415
    from components.pipeline.new_project import refresh  # noqa: PLC0415
    from components.pipeline.repro import check_repository, reproduce  # noqa: PLC0415
    from components.stages.preflight import check_run  # noqa: PLC0415

    with command("run", params) as context:
        if params != PARAMS and params.name != PARAMS.name:
            raise BadInput(f"--params {params}: the pipeline of dvc.yaml reads params.yaml; name one")
        os.chdir(context.root)  # DVC runs the pipeline of the folder that it is in
        check_repository(Path())
        refresh(Path())
        for line in follow_settings(Path()):
            print(f"dvc.yaml: {line}", file=sys.stderr)
        check_run(Path(), stages or [], force=force, single=single)
        flags = [*(["--force"] if force else []), *(["--single-item"] if single else [])]
        # A pipeline of somebody's own stages may have no settings, and then no cache of ours.
        cache = context.settings.run.cache if context.params.is_file() else "cache"
        with in_use(context.root, context.root / cache):
            code = reproduce([*flags, *(stages or [])])
    raise typer.Exit(code)


def _stage_command(name: str) -> Callable[..., None]:
    def stage(
        params: Params = PARAMS,
        shard: Annotated[
            str | None, typer.Option(metavar="i/n", help="Only part i of n of the work, into the cache.")
        ] = None,
        override: Overrides = None,
    ) -> None:
        from components.artifacts.shards import Shard  # noqa: PLC0415

        with command(name, params, logs=True) as context:
            part = Shard.parse(shard) if shard else None
            raise typer.Exit(run_stage(name, context.params, part, overrides=override or []))

    stage.__doc__ = f"{STAGES[name][0].upper()}{STAGES[name][1:]}."
    return stage


for _name in STAGES:
    commands.command(_name, rich_help_panel=PIPELINE, epilog=examples(*STAGE_EXAMPLES[_name]))(_stage_command(_name))
