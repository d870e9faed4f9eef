"""From settings to a backbone: one dict, two functions."""

import importlib
import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch

from components.artifacts import digests
from components.artifacts.hub import source
from components.artifacts.tables import Row
from components.backbones.base import Backbone, Branch
from components.errors import BadInput
from components.settings import BackboneSettings, ControlNetSettings, RestorerFlowSettings, Settings

Loader = Callable[[Path, BackboneSettings, torch.device], Backbone]


def _class(module: str, name: str) -> Loader:
    def load(folder: Path, settings: BackboneSettings, device: torch.device) -> Backbone:
        load = operator.attrgetter(name)(importlib.import_module(f"components.backbones.{module}"))
        return cast(Backbone, load(folder, settings, device))

    return load


FAMILIES: dict[str, Loader] = {
    "tiny_flow": _class("tiny_flow", "load"),
    "restorer_flow": _class("restorer_flow", "load"),
    "sd2_controlnet": _class("sd2_controlnet", "SD2ControlNet.load"),
    "flux_controlnet": _class("flux_controlnet", "FluxControlNet.load"),
    "sd3_controlnet": _class("sd3_controlnet", "SD3ControlNet.load"),
}
"""Family to loader; a family's module, and the parts of diffusers it needs, are imported when it is asked for.

A loader's folder is where the policy is, whatever the settings' own `path` says.
"""


def load_backbone(settings: Settings, root: Path, device: torch.device) -> Backbone:
    """The base model of `settings.backbone`: its weights are both the policy's start and the frozen reference.

    Raises:
        BadInput: the folder is missing, damaged, or of another family.
    """
    backbone = located(settings.backbone, root)
    return FAMILIES[backbone.family](backbone.path, backbone, device)


def saved_digests(settings: Settings, root: Path) -> tuple[str, str] | None:
    """`digest("reference")` and `sampler.digest` of that model from its file alone, without its network.

    None where a family cannot tell without its networks. Importing and building one takes seconds, which a stage with
    nothing to do should not cost.

    Raises:
        BadInput: the folder is missing or damaged.
    """
    return _saved_digests(located(settings.backbone, root))


def _saved_digests(backbone: BackboneSettings) -> tuple[str, str] | None:
    if isinstance(backbone, ControlNetSettings):
        return None
    module = importlib.import_module(f"components.backbones.{backbone.family}")
    return cast(tuple[str, str], module.saved_digests(backbone))


def saved_files(settings: Settings, root: Path) -> list[Path]:
    """Folders and files that the model is loaded from, as far as they are paths of this machine."""
    return SavedModel(located(settings.backbone, root), "cpu").files


@dataclass(frozen=True)
class SavedModel:
    """A model on disk, as any process can load it.

    Attributes:
        backbone: how it is sampled, with `located` paths; `path` is the reference's folder, and the policy's.
        device: where it runs.
        policy: folder of another policy.
    """

    backbone: BackboneSettings
    device: str
    policy: Path | None = None

    @property
    def key(self) -> str:
        """Name of what `load` gives."""
        return digests.of_json([self.backbone.model_dump(mode="json"), self.device, str(self.policy)])

    @property
    def files(self) -> list[Path]:
        """Folders and files that it is loaded from, as far as they are paths of this machine."""
        base = self.backbone.base if isinstance(self.backbone, ControlNetSettings) else None
        return [path for path in (self.backbone.path, base, self.policy) if path is not None and path.exists()]

    def load(self) -> Backbone:
        """Load it.

        Raises:
            BadInput: a folder is missing, damaged, or of another family.
        """
        backbone = FAMILIES[self.backbone.family](self.backbone.path, self.backbone, torch.device(self.device))
        if self.policy is not None:
            backbone.load_policy(self.policy)
        return backbone

    def digests(self, branch: Branch) -> tuple[str, str] | None:
        """`digest(branch)` and `sampler.digest`, as `saved_digests`."""
        if branch == "reference" or self.policy is None:
            return _saved_digests(self.backbone)
        return _saved_digests(self.backbone.model_copy(update={"path": self.policy}))


def check_sizes(settings: BackboneSettings, rows: Iterable[Row]) -> None:
    """Refuse LR images (rows of data/dataset.parquet) that the backbone will not take, before it is loaded.

    Raises:
        BadInput: one is larger than the limit.
    """
    if not isinstance(settings, ControlNetSettings):
        return
    for row in rows:
        if row["lr_width"] * row["lr_height"] > settings.max_lr_pixels:
            raise BadInput(
                f"LR {row['lr_id']} of {row['source_name']} has {row['lr_width']} x {row['lr_height']} px, "
                f"backbone.max_lr_pixels is {settings.max_lr_pixels}: lower prepare.crop, or raise the limit if the "
                "memory is there"
            )


def located(settings: BackboneSettings, root: Path) -> BackboneSettings:
    """The settings with local paths made absolute, relative to `root`; hub ids stay as they are."""
    if isinstance(settings, RestorerFlowSettings):
        restorer = str(root / settings.restorer) if settings.restorer.endswith(".param") else settings.restorer
        return settings.model_copy(update={"path": root / settings.path, "restorer": restorer})
    if not isinstance(settings, ControlNetSettings):
        return settings.model_copy(update={"path": root / settings.path})
    found = {"path": source(settings.path, root), "base": source(settings.base, root)}
    return settings.model_copy(update=found)
