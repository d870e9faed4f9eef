"""What a tenth more LR images cost, in processes of their own: new candidates and scores only, plus start-up."""

import re
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.parts.project import Cost, Project
from components.errors import BadInput

STAGES = ("generate", "score")
TARGET = 0.15
MADE = re.compile(r"(\d+) (?:candidates|scores) made, (\d+) found in the cache")
HELD_OUT_PHOTOS = 2


@dataclass(frozen=True)
class Phase:
    """Costs of generate and score in one state of the project.

    Attributes:
        wall, cpu: seconds by stage.
        made, found: candidates (generate) and metric values (score) that were computed and that the cache had.
    """

    lrs: int
    wall: dict[str, float]
    cpu: dict[str, float]
    made: dict[str, int]
    found: dict[str, int]


@dataclass(frozen=True)
class Incremental:
    """Three runs: all LR images new, nothing new (start-up and publishing alone), a tenth more.

    Attributes:
        fraction_wall, fraction_cpu: cost of the tenth over the cost of all, start-up in both.
        without_start_up: the same by CPU time, less what a run with nothing new takes.
    """

    full: Phase
    idle: Phase
    added: Phase
    fraction_wall: float
    fraction_cpu: float
    without_start_up: float
    target: float = TARGET

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def measure(weights: Path | None, lrs: int, candidates: int, steps: int) -> Incremental:
    """`lrs` LR images with `candidates` candidates of `steps` Euler steps each, then a tenth more."""
    changes = {
        "generate": {"candidates": candidates},
        "backbone": {"steps": steps},
        "pair": {"top": 1},
    }
    with tempfile.TemporaryDirectory() as folder:
        project = Project(Path(folder), weights, HELD_OUT_PHOTOS, changes)
        project.add_lrs(lrs)
        full, idle = _phase(project, lrs), _phase(project, lrs)
        more = max(1, round(lrs / 10))
        project.add_lrs(more)
        added = _phase(project, lrs + more)

    def total(phase: Phase, clock: str) -> float:
        return float(sum(getattr(phase, clock).values()))

    start_up = total(idle, "cpu")
    return Incremental(
        full,
        idle,
        added,
        total(added, "wall") / total(full, "wall"),
        total(added, "cpu") / total(full, "cpu"),
        (total(added, "cpu") - start_up) / (total(full, "cpu") - start_up),
    )


def _phase(project: Project, lrs: int) -> Phase:
    costs = {stage: project.run(stage) for stage in STAGES}
    counts = {stage: _counts(stage, cost) for stage, cost in costs.items()}
    return Phase(
        lrs,
        {stage: cost.wall for stage, cost in costs.items()},
        {stage: cost.cpu for stage, cost in costs.items()},
        {stage: made for stage, (made, _) in counts.items()},
        {stage: found for stage, (_, found) in counts.items()},
    )


def _counts(stage: str, cost: Cost) -> tuple[int, int]:
    match = MADE.search(cost.log)
    if match is None:
        raise BadInput(f"the log of {stage} does not say what was made and what was found:\n{cost.log[-1000:]}")
    return int(match[1]), int(match[2])
