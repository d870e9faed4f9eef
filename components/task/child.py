"""The stage itself, as a child process in the workspace: its command line, its log, its end."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType

import yaml

from components.errors import BadInput, ExitCode, ResumeLater
from components.redaction import redacted
from components.settings import Settings
from components.stages.invocation import Invocation
from components.storage import commit, inputs
from components.storage.store import Store
from components.task.document import Task
from components.task.nodes import Node, rendezvous
from components.task.seal import KEY_VARIABLE
from components.task.workspace import CODE, INPUTS_LIST

logger = logging.getLogger("dp2o.task")

COMPUTING = frozenset({"freeze", "promote"})
"""Commands of components that restore and score; the others only write down."""
LOG_EVERY = 60.0
"""Seconds between two copies of the log to the store."""


def overrides(params: str, store_url: str, halvings: int, given: Sequence[str] = ()) -> list[str]:
    """Settings that say where and how: those given, the shared cache, and batches halved so many times."""
    chosen = list(given)
    if not any(setting.startswith(("run.cache=", "run.shared_cache=")) for setting in given):
        chosen.append(f"run.shared_cache={store_url}")
    return [*chosen, *halved(params, halvings)]


def halved(params: str, halvings: int) -> list[str]:
    """Settings with the batches of `params` halved so many times, down to 1, and one worker: each takes memory."""
    if not halvings:
        return []
    settings = Settings.model_validate(yaml.safe_load(params))
    most = max(1, settings.train.micro_batch >> halvings)
    # groups_per_step has to be a multiple of it
    divisor = next(size for size in range(most, 0, -1) if settings.train.groups_per_step % size == 0)
    return [
        f"generate.batch={max(1, settings.generate.batch >> halvings)}",
        f"score.batch={max(1, settings.score.batch >> halvings)}",
        f"train.micro_batch={divisor}",
        "run.workers=1",
    ]


def takes_settings(arguments: Sequence[str]) -> bool:
    """Whether this command of a component computes, and so takes `--set` as a stage does."""
    return arguments[0] in COMPUTING


def command(
    invocation: Invocation, params: str, store_url: str, arguments: Sequence[str] = (), node: Node | None = None
) -> list[str]:
    """The child's command line: the same invocation without its task, or `arguments`, a command of the component."""
    settings = tuple(overrides(params, store_url, invocation.halvings, invocation.settings))
    if arguments:
        flags = [flag for setting in settings for flag in ("--set", setting)] if takes_settings(arguments) else []
        return [sys.executable, "-u", "-m", f"components.{invocation.stage}", *arguments, *flags]
    child = replace(invocation, task=None, log=None, halvings=0, processes=1, settings=settings)
    module = ["-m", *child.argv]
    if invocation.processes > 1 or node is not None:
        workers = [*rendezvous(node), f"--nproc-per-node={invocation.processes}"]
        module = ["-m", "components.train.torchrun", *workers, *module]
    return [sys.executable, "-u", *module]


def run_child(invocation: Invocation, task: Task, store: Store, root: Path, node: Node | None) -> int:
    """Run the stage in the workspace; its lines go to stdout and to the store. Its exit code, 128 + n by signal n."""
    # who decodes pictures of others need not be able to say what this part made
    environment = {name: value for name, value in os.environ.items() if name != KEY_VARIABLE} | {
        inputs.VARIABLE: str(root / INPUTS_LIST),
        "PYTHONPATH": os.pathsep.join([str(CODE), *filter(None, [os.environ.get("PYTHONPATH")])]),
        **commit.environment(task.commit, task.dirty),
    }
    child = subprocess.Popen(
        command(invocation, task.params, store.url, task.arguments, node),
        cwd=root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    with _passing_on(child) as stopped, tempfile.NamedTemporaryFile("w", suffix=".log") as log:
        ended = threading.Event()
        copied = (store, _log_key(invocation.log, node), Path(log.name), ended)
        copier = threading.Thread(target=_copy_log, args=copied, daemon=True)
        copier.start()
        for line in child.stdout or ():  # text mode: a progress bar's carriage returns end lines as well
            shown = redacted(line)
            print(shown, end="", flush=True)
            log.write(shown)
            log.flush()
        code = child.wait()
        log.write(f"exit code {code}\n")
        log.flush()
        ended.set()
        copier.join()
    if stopped and code != ExitCode.OK:
        return ExitCode.RESUME  # what was finished is in the cache; the same command goes on from there
    return code if code >= 0 else 128 - code


def _log_key(log: str | None, node: Node | None) -> str | None:
    """Of the log in the store; each node has one."""
    if log is None or node is None or node.keeps_results:
        return log
    return f"{log.removesuffix('.log')}-node{node.number}.log"


def _copy_log(store: Store, key: str | None, path: Path, ended: threading.Event) -> None:
    """Copy the log now and then, and at the end; a store that is away loses the copy, not the work."""
    while key:
        last = ended.wait(LOG_EVERY)
        try:
            store.keep_file(key, path)
        except (OSError, BadInput, ResumeLater) as error:
            logger.warning("the log could not be copied: %s", error)
        if last:
            return


@contextmanager
def _passing_on(child: subprocess.Popen[str]) -> Iterator[list[int]]:
    """SIGTERM and SIGINT go to the stage, which saves its state; yields those received."""
    received: list[int] = []

    def forward(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        child.terminate()

    before = {number: signal.signal(number, forward) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
