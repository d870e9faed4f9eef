"""Peak memory of each stage, and that generate's and score's does not grow with the number of LR images."""

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.parts.project import Project
from components.stages import STAGES

GROWING = ("generate", "score")
HELD_OUT_PHOTOS = 4


@dataclass(frozen=True)
class Memory:
    """Peaks in MiB.

    Attributes:
        lrs: LR images n that got candidates; `tripled` was measured with 3 n.
        peak_mb: by stage.
        tripled: of generate and score.
        growth: the latter over the former.
    """

    lrs: int
    candidates: int
    peak_mb: dict[str, float]
    tripled: dict[str, float]
    growth: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def measure(weights: Path | None, lrs: int, candidates: int, stages: list[str]) -> Memory:
    """The given stages, in the pipeline's order, on a small project; batches are those of params.yaml."""
    changes: dict[str, dict[str, object]] = {
        "generate": {"candidates": candidates},
        "backbone": {"steps": 2},
        "pair": {"top": max(1, candidates // 4)},
        "train": {"steps": 2, "groups_per_step": 4, "validation_images": 2, "validate_every": 2, "warmup_steps": 1},
        "evaluate": {"seeds": 2, "bootstrap": 100},
    }
    growing = [stage for stage in GROWING if stage in stages]
    peaks: dict[str, float] = {}
    tripled: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        project = Project(Path(folder), weights, HELD_OUT_PHOTOS, changes)
        peaks["prepare"] = project.add_lrs(lrs).peak_mb
        for stage in STAGES:
            if stage in stages and stage != "prepare":
                peaks[stage] = project.run(stage).peak_mb
    if growing:
        with tempfile.TemporaryDirectory() as folder:
            project = Project(Path(folder), weights, HELD_OUT_PHOTOS, changes)
            project.add_lrs(3 * lrs)
            tripled = {stage: project.run(stage).peak_mb for stage in growing}
    return Memory(lrs, candidates, peaks, tripled, {stage: tripled[stage] / peaks[stage] for stage in growing})
