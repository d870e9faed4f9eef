"""The one way a stage starts: `python -m components.<stage> [--shard i/n]`, for people, DVC, containers and flows."""

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from components.artifacts import paths
from components.artifacts.registration import Registration
from components.artifacts.shards import Shard
from components.errors import BadInput, ExitCode, UserError, tell
from components.in_use.folder import in_use
from components.lineage_events import Datasets, work_events
from components.runtime.process import set_up_process, start_logging
from components.settings import Settings, load_settings
from components.settings.populated import check_suffices
from components.stages import IN_PARTS, STAGES, Action, Stage, StageInParts
from components.stages.invocation import Invocation
from components.storage.disk import tells_of_full_disk

NEEDS_IMAGES = ("generate", "train", "evaluate")
"""Stages that take long, and begin by asking whether the dataset suffices for the settings, which may be newer."""


def stage_main(name: str, arguments: Sequence[str] | None = None) -> None:
    """Parse a stage's command line, run it, and exit with its code."""
    invocation = Invocation.parse(name, arguments)
    start_logging()
    if invocation.task is not None:
        from components.task.run import run_task  # noqa: PLC0415

        sys.exit(run_task(invocation))
    sys.exit(run_stage(name, invocation.params, invocation.shard, invocation.action, invocation.settings))


def run_stage(
    name: str, params: Path, shard: Shard | None = None, action: Action = "run", overrides: Sequence[str] = ()
) -> ExitCode:
    """Run one stage in the folder of `params`; errors of the user's are printed, ours are raised."""
    root = params.resolve().parent
    try:
        with tells_of_full_disk(root):
            settings = load_settings(params, overrides)
            set_up_process(settings)
            with (
                in_use(root, root / settings.run.cache),
                work_events(name, root, settings.register_.model_name, is_stage=name in STAGES) as lineage,
            ):
                _perform(name, settings, root, shard, action)
                _add_version(name, root, lineage)
    except UserError as error:
        return tell(f"dp2o {name}", error)
    return ExitCode.OK


def _add_version(name: str, root: Path, lineage: Datasets) -> None:
    """What register makes is in the registry, which dvc.yaml cannot say."""
    if name == "register" and (made := Registration.read_if_there(root)) is not None:
        lineage.outputs[f"models:/{made.model}/{made.version}"] = made.model_digest


def _check_images(settings: Settings, root: Path) -> None:
    """Refuse settings that the dataset does not suffice for, before the first stage that they are new to works."""
    path = root / paths.DATASET_ROWS
    if path.is_file():
        from components.artifacts import tables  # noqa: PLC0415 - pyarrow takes long, and `--help` reads no table

        check_suffices(settings, tables.read_rows(path, tables.DATASET))


def _perform(name: str, settings: Settings, root: Path, shard: Shard | None, action: Action) -> None:
    if action == "run" and name in NEEDS_IMAGES:
        _check_images(settings, root)
    conducted = name == "train" and settings.train.rounds > 1
    module = importlib.import_module("components.rounds.conductor" if conducted else f"components.{name}.stage")
    if action == "run":
        cast(Stage, module).run(settings, root, shard)
        return
    if name not in IN_PARTS:
        raise BadInput(f"{name} does not come in parts that are published one by one; {', '.join(IN_PARTS)} do")
    stage = cast(StageInParts, module)
    if action == "gather":
        if shard is not None:
            raise BadInput("--gather joins all parts: leave --shard out")
        stage.gather(settings, root)
    elif shard is None:
        raise BadInput("--publish publishes one part: name it with --shard i/n")
    else:
        stage.publish_part(settings, root, shard)
