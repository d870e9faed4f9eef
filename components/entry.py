"""The one way a stage starts: `python -m components.<stage> [--shard i/n]`, for people, DVC, containers and flows."""

import argparse
import importlib
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from components.artifacts.shards import Shard
from components.errors import BadInput, ExitCode, ResumeLater
from components.settings import Settings, load_settings

if TYPE_CHECKING:  # torch takes seconds to import, and `dp2o --help` needs none of it
    import torch

STAGES = {
    "prepare": "photos to LR/HR pairs, split by photo",
    "generate": "M candidates of each LR from the frozen reference",
    "score": "IQA metrics of each candidate, and its reward",
    "pair": "winners and losers of each group, with hierarchical weights",
    "train": "preference optimisation of the policy",
    "evaluate": "base against aligned on the test split",
    "report": "one self-contained HTML page of it all",
    "register": "log the run and register the model version",
}
"""Stages in their order, each with what it does."""


class Stage(Protocol):
    """A module `components.<stage>.stage`."""

    def run(self, settings: Settings, root: Path, shard: Shard | None) -> None: ...


def resolve_device(name: str, shard: Shard | None = None) -> "torch.device":
    """`auto` is CUDA where there is one; of several GPUs part i of the work takes the i-th, counted round.

    Raises:
        BadInput: a CUDA device is named and there is none.
    """
    import torch  # noqa: PLC0415

    if name == "auto":
        if shard is not None and torch.cuda.is_available() and torch.cuda.device_count() > 1:
            return torch.device("cuda", shard.index % torch.cuda.device_count())
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise BadInput(f"run.device is {name}, but torch sees no CUDA device; set run.device to auto or cpu")
    try:
        return torch.device(name)
    except RuntimeError as error:
        raise BadInput(
            f"run.device is {name}, which torch does not know; set it to auto, cpu, cuda or cuda:N"
        ) from error


def limit_threads(settings: Settings) -> None:
    """Apply `run.threads`."""
    if settings.run.threads:
        import torch  # noqa: PLC0415

        torch.set_num_threads(settings.run.threads)


def start_logging() -> None:
    """Log to stderr, one line a record."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s", datefmt="%H:%M:%S")


def run_stage(name: str, params: Path, shard: Shard | None = None) -> ExitCode:
    """Run one stage in the folder of `params`; errors of the user's are printed, ours are raised."""
    try:
        settings = load_settings(params)
        limit_threads(settings)
        stage = cast(Stage, importlib.import_module(f"components.{name}.stage"))
        stage.run(settings, params.resolve().parent, shard)
    except BadInput as error:
        print(f"dp2o {name}: {error}", file=sys.stderr)
        return ExitCode.BAD_INPUT
    except ResumeLater as error:
        print(f"dp2o {name}: {error}", file=sys.stderr)
        return ExitCode.RESUME
    return ExitCode.OK


def stage_main(name: str, arguments: Sequence[str] | None = None) -> None:
    """Parse a stage's command line, run it, and exit with its code."""
    parser = argparse.ArgumentParser(prog=f"python -m components.{name}", description=STAGES[name])
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), help="settings; data are beside it")
    parser.add_argument("--shard", metavar="i/n", help="only part i of n of the work, into the cache")
    parsed = parser.parse_args(arguments)
    start_logging()
    try:
        shard = Shard.parse(parsed.shard) if parsed.shard else None
    except BadInput as error:
        parser.error(str(error))
    sys.exit(run_stage(name, parsed.params, shard))
