"""The one way a stage starts: `python -m components.<stage> [--shard i/n]`, for people, DVC, containers and flows."""

import argparse
import gc
import importlib
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, cast

from components.allocator import keep_freed_memory
from components.artifacts.shards import Shard
from components.errors import BadInput, ExitCode, UserError, tell
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

OPERATIONS = {
    "intake": "new LR images from S3 into data/incoming, what cannot be used into quarantine",
    "drift": "new LR images against the training set: train again or not",
    "champion": "the champion's weights into models/champion",
}
"""What runs as stages do, but is none of the pipeline's: what they find is outside of it."""


YOUNG = 10_000
"""Objects between two looks for cycles. torch and diffusers make a million that stay: at Python's own 700, a tenth of
the seconds that they take to import goes into looking through them."""

Action = Literal["run", "publish", "gather"]
"""`publish` makes one part and publishes it, `gather` joins the published parts; `run` does all at once, or, of a part,
what goes into the cache."""


class Stage(Protocol):
    """A module `components.<stage>.stage`."""

    def run(self, settings: Settings, root: Path, shard: Shard | None) -> None: ...


class StageInParts(Stage, Protocol):
    """A stage whose parts are published one by one, each where it was made."""

    def publish_part(self, settings: Settings, root: Path, shard: Shard) -> None: ...

    def gather(self, settings: Settings, root: Path) -> None: ...


IN_PARTS = ("generate", "score")
"""Stages that are StageInParts."""


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


def set_up_process(settings: Settings) -> None:
    """Apply `run.threads`, and settle what freed memory is kept for and how often cycles are looked for."""
    keep_freed_memory()
    gc.set_threshold(YOUNG)
    if settings.run.threads:
        # Read by torch when it is imported, which takes seconds, and which some stages never do.
        os.environ["OMP_NUM_THREADS"] = str(settings.run.threads)
        if (torch := sys.modules.get("torch")) is not None:
            torch.set_num_threads(settings.run.threads)


def start_logging() -> None:
    """Log to stderr, one line a record."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s", datefmt="%H:%M:%S")
    for chatty in ("aiobotocore", "botocore"):  # a line for every client that finds its credentials
        logging.getLogger(chatty).setLevel(logging.WARNING)


def run_stage(
    name: str, params: Path, shard: Shard | None = None, action: Action = "run", overrides: Sequence[str] = ()
) -> ExitCode:
    """Run one stage in the folder of `params`; errors of the user's are printed, ours are raised."""
    try:
        settings = load_settings(params, overrides)
        set_up_process(settings)
        _perform(name, settings, params.resolve().parent, shard, action)
    except UserError as error:
        return tell(f"dp2o {name}", error)
    return ExitCode.OK


def _perform(name: str, settings: Settings, root: Path, shard: Shard | None, action: Action) -> None:
    module = importlib.import_module(f"components.{name}.stage")
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


def stage_main(name: str, arguments: Sequence[str] | None = None) -> None:
    """Parse a stage's command line, run it, and exit with its code."""
    parser = argparse.ArgumentParser(prog=f"python -m components.{name}", description=(STAGES | OPERATIONS)[name])
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), help="settings; data are beside it")
    parser.add_argument("--shard", metavar="i/n", help="only part i of n of the work, into the cache")
    parts = parser.add_mutually_exclusive_group()
    parts.add_argument("--publish", action="store_true", help="publish the part of --shard beside the others")
    parts.add_argument("--gather", action="store_true", help="join the published parts")
    parser.add_argument("--set", action="append", default=[], metavar="block.key=value", help="a setting that says "
                        "where and how, never what, for example generate.batch=2")  # fmt: skip
    parser.add_argument("--task", metavar="URL", help="a task document: inputs come from its store, outputs go there")
    parser.add_argument("--halvings", type=int, default=0, help="with --task: halve the batches so many times")
    parser.add_argument("--processes", type=int, default=1, help="with --task: processes of train, one a GPU")
    parser.add_argument("--log", metavar="KEY", help="with --task: where in the store the log goes")
    parsed = parser.parse_args(arguments)
    start_logging()
    try:
        shard = Shard.parse(parsed.shard) if parsed.shard else None
    except BadInput as error:
        parser.error(str(error))
    action: Action = "publish" if parsed.publish else "gather" if parsed.gather else "run"
    if parsed.task:
        from components.task import Assignment, run_task  # noqa: PLC0415

        how = (parsed.halvings, parsed.processes, parsed.log, parsed.set)
        sys.exit(run_task(Assignment(name, parsed.task, shard, action, *how)))
    sys.exit(run_stage(name, parsed.params, shard, action, parsed.set))
