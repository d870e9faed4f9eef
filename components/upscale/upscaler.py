"""A saved model and one RGB picture of any size: the restored picture."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from components.artifacts.depth import as_8bit
from components.artifacts.images import to_8bit, to_16bit, to_tensor
from components.backbones.base import Backbone, Source
from components.backbones.colour import ColourFix
from components.backbones.loading import SavedModel
from components.backbones.mixing import source_of
from components.backbones.restore import restore
from components.errors import BadInput
from components.progress import counter
from components.prompts.writer import Writer
from components.settings import BackboneSettings, MixtureSettings
from components.settings.families import family_of
from components.storage.digests import of_pixels
from components.upscale.carried import Pixels
from components.upscale.noise import NoiseField
from components.upscale.tiles import GRID, blend_weights, check_tiling, spans


@dataclass(frozen=True)
class Tiling:
    """How large pictures are cut.

    Attributes:
        tile: largest tile side, LR px; what fits into one tile is restored whole. Memory grows with its square.
        overlap: px that neighbouring tiles share and blend over, LR px.
        max_pixels: larger LR pictures are refused, px; the output has scale^2 as many.
    """

    tile: int = 256
    overlap: int = 32
    max_pixels: int = 4_000_000

    def __post_init__(self) -> None:
        check_tiling(self.tile, self.overlap)


def default_tiling(settings: BackboneSettings) -> Tiling:
    """Tiles as large as suits the family."""
    side, scale = family_of(settings.family).limits.trained_side, settings.stored_scale()
    if side is None or scale is None:
        return Tiling()
    tile = max(side // scale // GRID * GRID, 2 * GRID)
    return Tiling(tile=tile, overlap=max(tile // 4 // GRID * GRID, GRID))


class Upscaler:
    """Restores pictures with the policy of one backbone, or mixed with the base that it was trained from.

    `saved` is where it was loaded from; without `has_base` the reference is no base but the policy itself.

    Memory: one tile's activations, a band of tiles of output in float32, and the output itself.
    """

    def __init__(
        self,
        backbone: Backbone,
        colour_fix: ColourFix,
        tiling: Tiling | None = None,
        prompt_of: Writer = lambda picture: "",
        saved: SavedModel | None = None,
        has_base: bool = False,
    ) -> None:
        self.backbone = backbone
        self.saved = saved
        self.has_base = has_base
        self.colour_fix = colour_fix
        self.tiling = tiling or Tiling()
        self.prompt_of = prompt_of

    @classmethod
    def load(
        cls,
        folder: Path,
        settings: BackboneSettings,
        device: torch.device,
        tiling: Tiling | None = None,
        prompt_of: Writer = lambda picture: "",
        base: Path | None = None,
    ) -> "Upscaler":
        """The model saved in `folder`, sampled as `settings` say (their `path` is not looked at).

        Args:
            base: folder of the model that it was trained from; None where no mixture will be asked for.

        Raises:
            BadInput: a folder is missing, damaged, or of another family; the model was trained from another base; or a
                tile is larger than its LR may be.
        """
        if not folder.is_dir():
            raise BadInput(f"model folder {folder} does not exist; `dp2o run train` writes models/aligned/best")
        tiling = tiling or default_tiling(settings)
        largest = settings.largest_lr
        if largest is not None and tiling.tile**2 > largest:
            raise BadInput(
                f"a tile of {tiling.tile} x {tiling.tile} LR px has more than backbone.max_lr_pixels "
                f"{largest}: give a smaller --tile, or raise the limit if the memory is there"
            )
        alone = SavedModel(settings.model_copy(update={"path": folder}), str(device))
        if base is None:
            return cls(alone.load(), settings.colour_fix, tiling, prompt_of, alone)
        saved = SavedModel(settings.model_copy(update={"path": base}), str(device), folder)
        backbone = saved.load()
        known = alone.digests("policy")
        if known is not None and known[0] != backbone.digest("policy"):
            raise BadInput(
                f"the model in {folder} was not trained from the one in {base}, whose configuration is another: set "
                "backbone.path to its base"
            )
        return cls(backbone, settings.colour_fix, tiling, prompt_of, saved, has_base=True)

    @property
    def digest(self) -> str:
        """sha256 of the weights that restore."""
        return self.backbone.digest("policy")

    def __call__(
        self,
        lr: Pixels,
        seed: int,
        progress: bool = False,
        prompt: str | None = None,
        mixture: MixtureSettings | None = None,
        after_tile: Callable[[int, int], None] = lambda done, of: None,
    ) -> Pixels:
        """Restore RGB `[h, w, 3]` of 8 or 16 bits to as many, `[scale * h, scale * w, 3]`; without a `prompt`,
        `prompt_of` writes it.

        The noise of 16 bits is that of the same picture in 8.

        The result depends on the pixels, the prompt, `seed` and `mixture` (None: the policy) alone; up to the tile size
        it is candidate `seed` of the LR image. A larger picture is restored tile by tile; the colour fix then matches
        each tile's own part of the LR.

        Args:
            after_tile: called with the tiles that are done, and how many there are; what it raises ends the work.

        Raises:
            BadInput: the picture has more than `max_pixels` px, `seed` is negative, or the mixture needs a base.
        """
        height, width = lr.shape[:2]
        if height * width > self.tiling.max_pixels:
            raise BadInput(
                f"the picture has {width} x {height} = {height * width} px, the limit is {self.tiling.max_pixels}: "
                "crop or shrink it, or raise --max-pixels (memory and time grow with it)"
            )
        if seed < 0:
            raise BadInput(f"seed {seed} is negative; seeds start at 0")
        source, seen = self._source(mixture), as_8bit(lr)
        text = self.prompt_of(seen) if prompt is None else prompt
        scale = self.backbone.scale
        rows = spans(height, self.tiling.tile, self.tiling.overlap)
        columns = spans(width, self.tiling.tile, self.tiling.overlap)
        row_weights = blend_weights([span.scaled(scale) for span in rows], self.tiling.overlap * scale)
        column_weights = blend_weights([span.scaled(scale) for span in columns], self.tiling.overlap * scale)
        noise = NoiseField(self.backbone, of_pixels(seen), seed, height * scale, width * scale)

        output: Pixels = np.empty((height * scale, width * scale, 3), lr.dtype)
        quantised = to_8bit if lr.dtype == np.uint8 else to_16bit
        band, band_start = torch.zeros(3, 0, width * scale), 0
        bar = counter(
            total=len(rows) * len(columns),
            desc="tiles",
            unit="tile",
            leave=False,
            disable=not progress,
        )
        with bar:
            for number, row in enumerate(rows):
                high = row.scaled(scale)
                band, band_start = _moved_down(band, high.start - band_start, high.stop - high.start), high.start
                for place, (column, across) in enumerate(zip(columns, column_weights, strict=True), 1):
                    wide = column.scaled(scale)
                    crop = lr[row.start : row.stop, column.start : column.stop]
                    restored = self._tile(crop, noise.window(high, wide), text, source)
                    band[:, :, wide.start : wide.stop] += restored * row_weights[number][:, None] * across
                    bar.update()
                    after_tile(number * len(columns) + place, len(rows) * len(columns))
                # No later row of tiles reaches above its own start: those rows are final.
                final = rows[number + 1].start * scale if number + 1 < len(rows) else high.stop
                output[high.start : final] = quantised(band[None, :, : final - high.start])[0]
        return output

    def _source(self, mixture: MixtureSettings | None) -> Source:
        source = source_of(mixture)
        if mixture is not None and mixture.needs_base and not self.has_base:
            raise BadInput(
                f"{mixture.name} mixes the aligned model with its base, and this one was stored without it: set "
                "register.reference to true and register it again, or take strength 1"
            )
        return source

    def _tile(self, lr: Pixels, noise: torch.Tensor, prompt: str, source: Source) -> torch.Tensor:
        # Tiles come one by one: a block of several would be filled up with copies.
        (samples,) = restore(
            self.backbone, to_tensor(lr), (prompt,), [lambda shape: noise], self.colour_fix, source, block=1
        )
        return samples.images[0].cpu()


def _moved_down(band: torch.Tensor, by: int, height: int) -> torch.Tensor:
    """The band `by` px further down, `height` px high: it keeps what earlier rows of tiles blended into it."""
    moved = torch.zeros(band.shape[0], height, band.shape[2])
    kept = band[:, by:]
    moved[:, : kept.shape[1]] = kept
    return moved
