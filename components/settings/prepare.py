"""Block `prepare`: photos, crops, splits, prompts and degradation."""

from pathlib import Path
from typing import Literal, Self

from pydantic import model_validator

from components.settings.block import Block, Count, Fraction, Positive
from components.settings.degradation import DegradationSettings
from components.storage.hub import source

PHOTO_SETTINGS = ("sources", "align_sources", "lr_sources", "align_lr_sources")
"""Lists of folders."""


class SplitSettings(Block):
    align: Fraction
    validation: Fraction
    test: Fraction

    @model_validator(mode="after")
    def _sums_to_one(self) -> "SplitSettings":
        total = self.align + self.validation + self.test
        if abs(total - 1.0) > 1e-9:
            raise ValueError(f"align + validation + test is {total:g}, it must be 1")
        return self


class PromptSettings(Block):
    """Where the text of a text-to-image backbone comes from.

    Attributes:
        kind: `fixed`, `text` for all; `column` of a table beside the photos; `captioner`, a model's words about the LR.
        text: the fixed prompt; for a captioner what it is given beside the picture.
        manifest: name of the table in each source folder, CSV or parquet.
        column: of the prompts; column `file` names the photo.
        model: the captioner: folder in transformers' format, or hf://owner/name@revision.
        max_tokens: longest caption.
    """

    kind: Literal["fixed", "column", "captioner"] = "fixed"
    text: str = ""
    manifest: str = "manifest.csv"
    column: str = "prompt"
    model: Path | None = None
    max_tokens: Count = 48

    def located(self, root: Path) -> Self:
        """The same with a captioner's path made absolute, relative to `root`; a model of the hub stays as it is."""
        return self if self.model is None else self.model_copy(update={"model": source(self.model, root)})

    @model_validator(mode="after")
    def _consistent(self) -> "PromptSettings":
        if self.kind == "captioner" and self.model is None:
            raise ValueError(
                "kind captioner needs model: a folder in transformers' format, or hf://owner/name@revision"
            )
        if self.kind != "captioner" and self.model is not None:
            raise ValueError(f"model is set, but kind is {self.kind}: set kind to captioner, or leave model out")
        if self.kind == "column" and self.text:
            raise ValueError("text is set, but kind is column: prompts would come from both; leave one out")
        if Path(self.manifest).suffix not in (".csv", ".parquet"):
            raise ValueError(f"manifest {self.manifest} is neither .csv nor .parquet")
        return self


class PairFolders(Block):
    """Folders of real pairs; one may be the other, where names tell the sides apart.

    Attributes:
        lr: of the LR images.
        hr: of the HR images.
    """

    lr: Path
    hr: Path


class PrepareSettings(Block):
    sources: list[Path]
    align_sources: list[Path] = []
    lr_sources: list[Path] = []
    align_lr_sources: list[Path] = []
    pairs: list[PairFolders] = []
    crop: Count
    scale: Count
    crops_per_photo: Count
    seed: int
    split: SplitSettings
    min_side: Count
    max_pixels: Count
    max_bytes: Count = 1_000_000_000
    seconds_a_photo: Positive = 60.0
    lrs_per_shard: Count
    prompt: PromptSettings = PromptSettings()
    degradation: DegradationSettings

    @model_validator(mode="after")
    def _crop_divides(self) -> "PrepareSettings":
        if self.crop % self.scale:
            raise ValueError(f"crop {self.crop} is not a multiple of scale {self.scale}: the LR would not fit its HR")
        if not self.sources and not self.lr_sources and not self.pairs:
            raise ValueError("sources, lr_sources and pairs are all empty: name at least one folder of photos")
        return self

    @property
    def folders(self) -> list[tuple[str, Path]]:
        """All folders that prepare reads, each after the setting that names it."""
        return [
            *((setting, folder) for setting in PHOTO_SETTINGS for folder in getattr(self, setting)),
            *(
                (f"pairs[{number}].{side}", folder)
                for number, both in enumerate(self.pairs)
                for side, folder in (("lr", both.lr), ("hr", both.hr))
            ),
        ]
