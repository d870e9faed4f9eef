"""Training checkpoints: complete, atomic, verified; `newest` means the newest valid one."""

import json
import logging
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from components.storage import digests
from components.storage.cache import CacheFolder
from components.storage.publish import atomic_folder

logger = logging.getLogger("dp2o.train")

MANIFEST, STATE = "manifest.json", "state.pt"
KEPT = 2


@dataclass
class TrainingState:
    """Everything that a step changes. Order, times and noise are functions of the step, so they need no state.

    Attributes:
        step: optimiser steps done.
        policy: state dict of the policy.
        optimizer: state dict of AdamW.
        scaler: state dict of the fp16 loss scaler; empty without fp16.
        log: one row a step done.
        validation: one row a validation done.
        best_step: step of the best validation reward so far; -1 before the first.
        best_reward: that reward.
        best_policy: state dict of the policy at that step.
        average: the policy's moving average, by parameter; empty without one.
        batches: state of the source of batches, see `Batches.state`; empty where it has none.
    """

    step: int
    policy: dict[str, torch.Tensor]
    optimizer: dict[str, Any]
    scaler: dict[str, Any] = field(default_factory=dict)
    log: list[dict[str, float]] = field(default_factory=list)
    validation: list[dict[str, float]] = field(default_factory=list)
    best_step: int = -1
    best_reward: float = float("-inf")
    best_policy: dict[str, torch.Tensor] = field(default_factory=dict)
    average: dict[str, torch.Tensor] = field(default_factory=dict)
    batches: dict[str, torch.Tensor] = field(default_factory=dict)


def save(cache: CacheFolder, state: TrainingState) -> None:
    """Publish a checkpoint; remove all but the newest KEPT, and what a killed run left half-written."""
    folder = cache.path
    name = f"step-{state.step:07d}"
    with atomic_folder(folder / name) as temporary:
        torch.save(vars(state), temporary / STATE)
        manifest = {"step": state.step, "sha256": digests.of_file(temporary / STATE)}
        (temporary / MANIFEST).write_text(json.dumps(manifest))
    for file in (STATE, MANIFEST):  # the manifest last: without it a checkpoint does not count
        cache.keep(folder / name / file)
    for old in [*list(_newest_first(folder))[KEPT:], *folder.glob(".step-*")]:
        shutil.rmtree(old)
    for shared in [entry for entry in cache.shared_names() if entry.startswith("step-")][:-KEPT]:
        cache.forget(shared)


def newest(cache: CacheFolder) -> TrainingState | None:
    """The newest checkpoint whose digest holds, here or in the copy that machines share; damaged ones are named in the
    log and passed over."""
    shared = {name for name in cache.shared_names() if name.startswith("step-")}
    names = {path.name for path in _newest_first(cache.path)} | shared
    for name in sorted(names, reverse=True):
        candidate = cache.path / name
        here = (candidate / STATE).is_file() or (candidate / MANIFEST).is_file()
        state = _read(candidate, cache.fetch)
        if state is None and here and name in shared:
            logger.warning("checkpoint %s is damaged here; the shared copy is tried", candidate)
            state = _read(candidate, cache.fetch_again)
        if state is not None:
            return state
        logger.warning("checkpoint %s is damaged; falling back to the one before", candidate)
    return None


def _read(folder: Path, fetch: Callable[[Path], bool]) -> TrainingState | None:
    """The checkpoint in `folder`, after `fetch` of its files; None if it is damaged."""
    try:
        fetch(folder / MANIFEST)
        fetch(folder / STATE)
        manifest = json.loads((folder / MANIFEST).read_text())
        if manifest["sha256"] == digests.of_file(folder / STATE):
            return _state(torch.load(folder / STATE, map_location="cpu", weights_only=True))
    # what damaged files raise: JSON that is no manifest, a zip that is no checkpoint, other fields than ours
    except (OSError, EOFError, ValueError, LookupError, TypeError, RuntimeError, UnpicklingError) as error:
        logger.warning("checkpoint %s cannot be read: %s", folder, " ".join(str(error).split())[:200])
    return None


def _state(values: Any) -> TrainingState:
    """What was saved, if its fields are of their kinds.

    Raises:
        TypeError: they are not.
    """
    state = TrainingState(**values)
    fields = {"step": int, "policy": dict, "optimizer": dict, "log": list, "validation": list, "best_policy": dict}
    wrong = [name for name, kind in fields.items() if not isinstance(getattr(state, name), kind)]
    if wrong:
        raise TypeError(f"{', '.join(wrong)} of it are of another kind")
    return state


def _newest_first(folder: Path) -> Iterator[Path]:
    return iter(sorted(folder.glob("step-*"), reverse=True))
