"""A plan: what is measured of the networks, and what follows for each kind of GPU."""

import dataclasses
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from components.plan import estimate
from components.plan.estimate import Memory, Stage, Storage, Utilisation
from components.plan.figures import Figures, Shape
from components.plan.gpus import Gpu
from components.plan.workload import LRImages, Workload, sampling_block, shape_of
from components.settings import Settings
from components.settings.families import family_of


@dataclass(frozen=True)
class GpuPlan:
    """Hours on one kind of GPU, and whether each stage fits."""

    gpu: Gpu
    utilisation: Utilisation
    stages: tuple[Stage, ...]

    @property
    def gpu_hours(self) -> float:
        """Of all stages that are counted."""
        return sum(stage.gpu_hours for stage in self.stages)

    @property
    def seconds(self) -> float:
        """Wall clock of all stages that are counted, one after the other."""
        return sum(stage.seconds for stage in self.stages)


@dataclass(frozen=True)
class Plan:
    """Everything that is printed; `gpus` is how many of each kind."""

    settings: Settings
    shape: Shape
    figures: Figures
    workload: Workload
    memory: tuple[Memory, ...]
    storage: Storage
    gpus: int
    kinds: tuple[GpuPlan, ...]

    @property
    def checkpointing(self) -> bool:
        """Whether training recomputes activations."""
        return estimate.checkpointing(self.settings)

    def as_json(self) -> dict[str, Any]:
        """For scripts; bytes, FLOP and seconds are whole numbers of their units."""
        figures = dataclasses.asdict(self.figures)
        figures["training_bytes"] = {
            "checkpointing" if on else "plain": peak for on, peak in self.figures.training_bytes.items()
        }
        return {
            "family": self.settings.backbone.family,
            "shape": dataclasses.asdict(self.shape),
            "figures": figures,
            "parameters": {
                "trained": self.figures.trained,
                "frozen": sum(part.parameters for part in self.figures.parts) - self.figures.trained,
            },
            "workload": dataclasses.asdict(self.workload),
            "memory": [dataclasses.asdict(peak) | {"total": peak.total} for peak in self.memory],
            "storage": dataclasses.asdict(self.storage) | {"total": self.storage.total},
            "gpus": self.gpus,
            "kinds": [
                {
                    "gpu": kind.gpu.name,
                    "memory": kind.gpu.memory,
                    "utilisation": dataclasses.asdict(kind.utilisation),
                    "fits": {peak.stage: peak.total <= kind.gpu.memory for peak in self.memory},
                    "stages": [dataclasses.asdict(stage) for stage in kind.stages],
                    "gpu_hours": kind.gpu_hours,
                    "seconds": kind.seconds,
                }
                for kind in self.kinds
            ],
        }


def make_plan(
    settings: Settings, root: Path, lr_images: LRImages, kinds: list[Gpu], gpus: int, mfu: float | None
) -> Plan:
    """Plan of a run on `gpus` of each kind; all of it, and so every error, without data or a GPU.

    Nor are weights needed, but for a family of the user's own, which is loaded.

    Raises:
        BadInput: a network cannot be read, or a GPU lacks a precision.
    """
    for gpu in kinds:
        for precision in (estimate.sampling_precision(settings), estimate.training_precision(settings)):
            gpu.rate(precision)  # refuses what the GPU lacks before anything is measured
    block = sampling_block(settings, on_cpu=kinds[0].sustained)
    shape = shape_of(settings, block)
    workload = Workload.of(settings, lr_images, block)
    with warnings.catch_warnings():
        # of the meta device's slower kernels and of diffusers' renamed classes: nothing that a plan's reader can act on
        warnings.simplefilter("ignore")
        figures = measure(settings, root, shape)
    plans = []
    for gpu in kinds:
        used = Utilisation.of(settings.backbone.family, gpu, mfu)
        plans.append(GpuPlan(gpu, used, tuple(estimate.hours(settings, figures, workload, gpu, gpus, used))))
    return Plan(
        settings,
        shape,
        figures,
        workload,
        estimate.memory(figures, gpus, estimate.checkpointing(settings)),
        estimate.storage(settings, figures, workload),
        gpus,
        tuple(plans),
    )


def measure(settings: Settings, root: Path, shape: Shape) -> Figures:
    """Figures of the settings' backbone.

    Raises:
        BadInput: a network cannot be read.
    """
    known = family_of(settings.backbone.family).measure
    if known is None:  # of the user's own
        from components.plan.loaded import measure as count  # noqa: PLC0415

        return count(settings.backbone, root, shape)
    return cast(Figures, known(settings.backbone, root, shape))
