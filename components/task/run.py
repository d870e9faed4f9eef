"""A task from its document to its result in the store."""

from __future__ import annotations

import json
import logging
import os
import resource
import time
from pathlib import Path

from components.errors import BadInput, ExitCode, UserError, tell
from components.stages.invocation import Invocation
from components.storage.store import Content, Store
from components.task.child import run_child
from components.task.document import Result, read_result, read_task
from components.task.nodes import node_here
from components.task.seal import KEY_VARIABLE
from components.task.workspace import CODE, bring_inputs, check_code, made, workspace

logger = logging.getLogger("dp2o.task")


def run_task(invocation: Invocation) -> int:
    """Do what `invocation.task` says; the exit code of the stage, or of what prevented it."""
    try:
        return _perform(invocation)
    except UserError as error:
        return tell(f"dp2o {invocation.stage}", error)


def _perform(invocation: Invocation) -> int:
    began = time.monotonic()
    node = node_here(os.environ)
    task, store = read_task(invocation.stage, invocation.task or "")
    key, own = task.result_key(invocation), os.environ.get(KEY_VARIABLE, "")
    if read_result(store, task, invocation, own) is not None:
        logger.info("made before: %s", key)
        return ExitCode.OK
    if task.stage == "register" and not os.environ.get("MLFLOW_TRACKING_URI"):
        raise BadInput("MLFLOW_TRACKING_URI is not set: a database in the workspace would vanish with it")
    check_code(task.inputs, CODE)
    with workspace() as root:
        lazy = bring_inputs(task, store, root)
        fetched = time.monotonic()
        code = run_child(invocation, task, store, root, node)
        has_ended_well = code == ExitCode.OK or (task.arguments and code == ExitCode.REFUSED)
        if not has_ended_well or (node is not None and not node.keeps_results):
            return code
        ran = time.monotonic()
        outputs = _keep(store, root, [path for path in made(root, task, invocation) if path not in lazy])
        figures = {
            "seconds_bringing": fetched - began,
            "seconds_running": ran - fetched,
            "seconds_keeping": time.monotonic() - ran,
            "bytes_brought": float(store.fetched + _size_of(root, lazy)),
            "bytes_kept": float(store.kept),
            "peak_memory_mb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
        }
        result = Result(outputs={path: (c.md5, c.size, c.sha256) for path, c in outputs.items()}, figures=figures)
        store.write(key, result.sealed(own, key).model_dump(mode="json"))
        logger.info("%d files made; %s", len(outputs), json.dumps({k: round(v, 1) for k, v in figures.items()}))
        return code


def _keep(store: Store, root: Path, files: list[str]) -> dict[str, Content]:
    return {path: store.keep(root / path) for path in files}


def _size_of(root: Path, lazy: dict[str, Content]) -> int:
    """Bytes of the image shards that the child opened: it brought them itself."""
    return sum((root / path).stat().st_size for path in lazy if (root / path).exists())
