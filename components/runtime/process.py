"""What a process settles before it works: its device, its threads, its memory, its log."""

from __future__ import annotations

import gc
import logging
import os
import sys
from typing import TYPE_CHECKING

from components import redaction
from components.artifacts.shards import Shard
from components.errors import BadInput
from components.runtime.allocator import keep_freed_memory
from components.settings import Settings

if TYPE_CHECKING:  # torch takes seconds to import, and `dp2o --help` needs none of it
    import torch

OBJECTS_BETWEEN_COLLECTIONS = 10_000
"""Objects between two looks for cycles. torch and diffusers make a million that stay: at Python's own 700, a tenth of
the seconds that they take to import goes into looking through them."""


def resolve_device(name: str, shard: Shard | None = None) -> torch.device:
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
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)
    if settings.run.threads:
        # Read by torch when it is imported, which takes seconds, and which some stages never do.
        os.environ["OMP_NUM_THREADS"] = str(settings.run.threads)
        if (torch := sys.modules.get("torch")) is not None:
            torch.set_num_threads(settings.run.threads)


def start_logging() -> None:
    """Log to stderr, one line a record, without secrets."""
    redaction.install()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s", datefmt="%H:%M:%S")
    quiet_libraries()


def quiet_libraries() -> None:
    """What libraries say of themselves on a run that goes well stays unsaid; their warnings and errors are told."""
    for chatty in ("aiobotocore", "botocore", "alembic"):  # a line for every client that finds its credentials
        logging.getLogger(chatty).setLevel(logging.WARNING)
    # It sets its own level when it is first used, which leaves a filter alone: a line for every metric that is made.
    logging.getLogger("pyiqa").addFilter(_is_warning)
    # It advises a package for weights of 4 bits, which no model here has, on CPUs with bfloat16.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    if not sys.stderr.isatty():  # read when they are imported
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")


def _is_warning(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING
