"""The last step of retrain: the candidate before the gate, and what came of it, in a checkout of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from components.artifacts.store import Content, Store
from components.errors import BadInput, ExitCode, ResumeLater
from components.task import contents
from flows.align import AlignSettings, environment
from flows.checkout import Checkout
from flows.project import Project
from flows.stages import Reporter
from flows.tracking import track_folder, tracked

BENCHMARK = "data/benchmark"
ATTEMPTS = 3


@dataclass(frozen=True)
class Told:
    """What became of the candidate; `files` are to be committed."""

    promoted: bool
    text: str
    files: tuple[str, ...] = ()


Promote = Callable[[Checkout, Store, AlignSettings, Reporter], Told]


def by_command(checkout: Checkout, store: Store, options: AlignSettings, log: Reporter) -> Told:
    """`python -m components.register promote` here, with what the gate reads brought from the store.

    Policy is the settings' (`gate.policy`): with `manual` a passed gate waits for a person, and that is an end here as
    well.

    Raises:
        BadInput: settings or data must change first.
        ResumeLater: the registry is away, or another promotion comes first each time.
    """
    root, project = checkout.root, Project(checkout.root)
    frozen = tracked(root, BENCHMARK)
    needed = [BENCHMARK] if frozen else ["data/dataset", "data/dataset.parquet"]
    needed += [project.settings.backbone.path.as_posix()]
    for path in needed:
        entry = tracked(root, path)
        for name, content in (contents(store, entry) if entry else {}).items():
            store.fetch(content, root / name)
    command = [sys.executable, "-m", "components.register", "promote", "--json"]
    # what was measured before a crash is in the work tree's cache, which is the clone's: measured again, then
    settings = os.environ | environment(project, checkout, options) | {"PYTHONPATH": str(Path(__file__).parents[1])}
    for attempt in range(1, ATTEMPTS + 1):
        done = subprocess.run(command, cwd=root, env=settings, capture_output=True, text=True, check=False)
        for line in done.stderr.splitlines():
            log.info("%s", line)
        if done.returncode != ExitCode.RESUME or attempt == ATTEMPTS:
            break
    if done.returncode == ExitCode.BAD_INPUT:
        raise BadInput(f"the candidate cannot be judged: {done.stderr.strip().splitlines()[-1]}")
    if done.returncode == ExitCode.RESUME:
        raise ResumeLater(done.stderr.strip().splitlines()[-1])
    if done.returncode not in (ExitCode.OK, ExitCode.REFUSED):
        raise RuntimeError(f"promote ended with exit code {done.returncode}: {done.stderr[-2000:]}")
    outcome = json.loads(done.stdout)
    files: list[str] = []
    if frozen is None and (root / BENCHMARK).is_dir():
        made: dict[str, Content] = {
            path.relative_to(root / BENCHMARK).as_posix(): store.keep(path)
            for path in sorted((root / BENCHMARK).rglob("*"))
            if path.is_file()
        }
        files += track_folder(root, BENCHMARK, store, made)
    if (root / "reports/gate.json").is_file():
        files.append("reports/gate.json")
    promoted = outcome["decision"] in ("promoted", "already champion")
    return Told(promoted, str(outcome["text"]), tuple(files))
