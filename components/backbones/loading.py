"""From settings to a backbone, and what can be told of it without loading it."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from components.artifacts.tables import Row
from components.errors import BadInput
from components.settings import BackboneSettings, Settings
from components.settings.families import family_of
from components.storage import digests, hub

if TYPE_CHECKING:  # torch takes seconds to import, and who finds all in a cache needs none of it
    import torch

    from components.backbones.base import Backbone, Branch


def load_model(folder: Path, settings: BackboneSettings, device: "torch.device") -> "Backbone":
    """The model whose policy is in `folder`, whatever the settings' own `path` says; they are located.

    Raises:
        BadInput: the folder is missing, damaged, or of another family; or a model of the hub is not here.
    """
    if settings.base_model is not None:
        base = hub.folder(settings.base_model, "backbone.base", pipeline=True)
        settings = settings.model_copy(update={"base": base})
    return cast("Backbone", family_of(settings.family).load(hub.folder(folder, "backbone.path"), settings, device))


def load_backbone(settings: Settings, root: Path, device: "torch.device") -> "Backbone":
    """The base model of `settings.backbone`: its weights are both the policy's start and the frozen reference.

    Raises:
        BadInput: the folder is missing, damaged, or of another family; or settings are not of the model.
    """
    settings.check_model(root)
    backbone = settings.backbone.located(root)
    return load_model(backbone.path, backbone, device)


def saved_digests(settings: Settings, root: Path) -> tuple[str, str] | None:
    """`digest("reference")` and `sampler.digest` of that model from its file alone, without its network.

    None where a family cannot tell without its networks. Importing and building one takes seconds, which a stage with
    nothing to do should not cost.

    Raises:
        BadInput: the folder is missing or damaged.
    """
    return _saved_digests(settings.backbone.located(root))


def _saved_digests(backbone: BackboneSettings) -> tuple[str, str] | None:
    known = family_of(backbone.family).digests
    return None if known is None else cast(tuple[str, str], known(backbone))


def saved_files(settings: Settings, root: Path) -> list[Path]:
    """Folders and files that the model is loaded from, as far as they are paths of this machine."""
    return SavedModel(settings.backbone.located(root), "cpu").files


@dataclass(frozen=True)
class SavedModel:
    """A model on disk, as any process can load it.

    Attributes:
        backbone: how it is sampled, with located paths; `path` is the reference's folder, and the policy's.
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
        return [path for path in (*self.backbone.files, self.policy) if path is not None and path.exists()]

    def load(self) -> "Backbone":
        """Load it.

        Raises:
            BadInput: a folder is missing, damaged, or of another family.
        """
        import torch  # noqa: PLC0415

        backbone = load_model(self.backbone.path, self.backbone, torch.device(self.device))
        if self.policy is not None:
            backbone.load_policy(self.policy)
        return backbone

    def digests(self, branch: "Branch") -> tuple[str, str] | None:
        """`digest(branch)` and `sampler.digest`, as `saved_digests`."""
        if branch == "reference" or self.policy is None:
            return _saved_digests(self.backbone)
        return _saved_digests(self.backbone.model_copy(update={"path": self.policy}))


def check_sizes(settings: BackboneSettings, rows: Iterable[Row]) -> None:
    """Refuse LR images (rows of data/dataset.parquet) that the backbone will not take, before it is loaded.

    Raises:
        BadInput: one is larger than the limit.
    """
    limit = settings.largest_lr
    if limit is None:
        return
    for row in rows:
        if row["lr_width"] * row["lr_height"] > limit:
            raise BadInput(
                f"LR {row['lr_id']} of {row['source_name']} has {row['lr_width']} x {row['lr_height']} px, "
                f"backbone.max_lr_pixels is {limit}: lower prepare.crop, or raise the limit if the memory is there"
            )
