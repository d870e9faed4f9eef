"""From settings to a backbone: one dict, one function."""

from collections.abc import Callable
from pathlib import Path

import torch

from components.backbones.tiny_flow import TinyFlow, saved_digests
from components.settings import BackboneSettings, Settings

FAMILIES: dict[str, Callable[[Path, BackboneSettings, torch.device], TinyFlow]] = {
    "tiny_flow": lambda folder, settings, device: TinyFlow.load(folder, settings.steps, device),
}
DIGESTS: dict[str, Callable[[Path, BackboneSettings], tuple[str, str]]] = {
    "tiny_flow": lambda folder, settings: saved_digests(folder, settings.steps),
}


def load_backbone(settings: Settings, root: Path, device: torch.device) -> TinyFlow:
    """The base model of `settings.backbone`: its weights are both the policy's start and the frozen reference.

    Raises:
        BadInput: the folder is missing, damaged, or of another family.
    """
    return FAMILIES[settings.backbone.family](root / settings.backbone.path, settings.backbone, device)


def backbone_digests(settings: Settings, root: Path) -> tuple[str, str]:
    """`digest("reference")` and `sampler_digest()` of that model, without its network, whose import takes seconds.

    Raises:
        BadInput: the folder is missing or damaged.
    """
    return DIGESTS[settings.backbone.family](root / settings.backbone.path, settings.backbone)
