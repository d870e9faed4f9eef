"""The protocol every metric follows, and loading a metric by its name."""

import importlib
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Protocol

import torch

from components.errors import BadInput
from components.metrics.table import Kind, MetricInfo, info, is_brought
from components.metrics.weights import required
from components.storage.digests import of_file, of_json
from components.storage.packages import weights_folder


@dataclass(frozen=True)
class Context:
    """What a metric computes once per LR and uses for all of its candidates.

    `hr`: HR `[1, 3, H, W]`; `lr`: `[1, 3, h, w]`, both in [0, 1], or None; `features`: of the HR image,
    whatever the metric wants to keep.
    """

    hr: torch.Tensor | None
    lr: torch.Tensor | None
    features: tuple[torch.Tensor, ...] = ()


class Metric(Protocol):
    """One metric, loaded.

    `digest` identifies everything but the images that determines a score: weights, variant, code.
    """

    info: MetricInfo
    digest: str

    def prepare(self, hr: torch.Tensor | None, lr: torch.Tensor | None) -> Context:
        """Context of one LR: HR `[1, 3, H, W]` in [0, 1] or None where there is none, LR `[1, 3, h, w]` or None.

        Raises:
            BadInput: the metric needs what is None.
        """
        ...

    def __call__(self, candidates: torch.Tensor, context: Context) -> torch.Tensor:
        """Raw values `[M]` float32 of candidates `[M, 3, H, W]` in [0, 1]; not direction-aligned, NaN where undefined.

        Raises:
            BadInput: the candidates have another size than the HR image, or are smaller than the metric takes.
        """
        ...


def digest_of(row: MetricInfo, folder: Path, revision: int, *extra: str) -> str:
    """Hex sha256 over the weight files, the variant, versions of packages and the adapter's `revision`."""
    weights = {weight.path: of_file(folder / weight.path) for weight in row.weights}
    version = metadata.version("pyiqa") if row.pyiqa_name else ""
    packages = [f"{package} {metadata.version(package)}" for package in row.packages]
    return of_json([row.name, row.pyiqa_name, version, weights, revision, *packages, *extra])


def check_inputs(row: MetricInfo, candidates: torch.Tensor, hr: torch.Tensor | None) -> None:
    """Raise BadInput if `candidates` are not images `[M, 3, H, W]` the metric is defined for."""
    if candidates.ndim != 4 or candidates.shape[1] != 3:
        raise BadInput(f"metric {row.name}: candidates have shape {tuple(candidates.shape)}, expected [M, 3, H, W]")
    if min(candidates.shape[2:]) < row.min_size:
        raise BadInput(
            f"metric {row.name} needs images of at least {row.min_size} px, these are {candidates.shape[3]} x "
            f"{candidates.shape[2]}: take larger crops (prepare) or another metric (score)"
        )
    if row.kind is Kind.FR and hr is not None and candidates.shape[1:] != hr.shape[1:]:
        raise BadInput(
            f"metric {row.name}: candidates are {candidates.shape[3]} x {candidates.shape[2]} px, the HR image is "
            f"{hr.shape[3]} x {hr.shape[2]}: both come from one dataset and one scale; run generate again"
        )


def need(row: MetricInfo, image: torch.Tensor | None, what: str) -> torch.Tensor:
    """`image`, or BadInput if it is None."""
    if image is None:
        raise BadInput(f"metric {row.name} compares with the {what}, and there is none: use NR metrics for this image")
    return image


_ADAPTERS = {
    "psnr": "full_reference",
    "psnr_y": "full_reference",
    "ssim_y": "full_reference",
    "ssim": "full_reference",
    "stlpips": "stlpips",
    "stlpips-vgg": "stlpips",
    "rank_effnet": "rank_effnet",
    "rank_nss": "rank_nss",
    "lr_consistency": "lr_consistency",
    "afine_fr": "afine",
    "afine_nr": "afine",
    "ssimulacra2": "ssimulacra2",
    "vmaf": "vmaf",
    "text_error": "text_error",
}


def digest(name: str, folder: Path | None = None) -> str:
    """The digest that `load` would give metric `name`, without its network, whose import and weights take seconds.

    Raises:
        BadInput: no such metric, or a weight file is missing.
    """
    row = info(name)
    folder = folder or weights_folder()
    required(name, folder)
    found: str = _adapter(name).digest(row, folder)
    return found


def _adapter(name: str) -> ModuleType:
    module = "own" if is_brought(name) else _ADAPTERS.get(name, "through_pyiqa")
    return importlib.import_module(f"components.metrics.{module}")


def load(name: str, device: torch.device | str = "cpu", folder: Path | None = None) -> Metric:
    """Metric `name` ready to score on `device`; weights are read from `folder` (default: `weights_folder()`).

    Never touches the network.

    Raises:
        BadInput: no such metric, or a weight file is missing; names the file, the folder and the way out.
    """
    row = info(name)
    folder = folder or weights_folder()
    required(name, folder)
    metric: Metric = _adapter(name).build(row, torch.device(device), folder)
    return metric
