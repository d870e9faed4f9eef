from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from components.artifacts.images import to_8bit, to_tensor
from components.backbones.base import Source, candidate_noise
from components.backbones.restore import sample
from components.backbones.tiny_flow import TinyFlow
from components.errors import BadInput
from components.settings import BACKBONE, TinyFlowSettings
from components.storage.digests import of_pixels
from components.upscale import noise as noise_module
from components.upscale.noise import NoiseField
from components.upscale.tiles import Span
from components.upscale.upscaler import Tiling, Upscaler, default_tiling
from tests.upscale.conftest import photo

CPU = torch.device("cpu")
SAMPLING = TinyFlowSettings(family="tiny_flow", path=Path("unused"), steps=2, colour_fix="none")


def upscaler(folder: Path, tile: int = 256, overlap: int = 32, max_pixels: int = 4_000_000) -> Upscaler:
    return Upscaler.load(folder, SAMPLING, CPU, Tiling(tile, overlap, max_pixels))


def test_whole_picture_is_the_candidate_of_that_seed(model_folder: Path) -> None:
    lr = photo(24, 31)
    model = TinyFlow.load(model_folder, 2, CPU)
    noise = candidate_noise(of_pixels(lr), 5, model.noise_shape(96, 124))
    candidate = sample(model, model.condition(to_tensor(lr), ("",)), noise[None]).images
    assert np.array_equal(upscaler(model_folder)(lr, 5), to_8bit(candidate)[0])


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 17), (40, 8)])
def test_any_size_is_restored_four_times_larger(model_folder: Path, height: int, width: int) -> None:
    assert upscaler(model_folder)(photo(height, width), 0).shape == (4 * height, 4 * width, 3)


def test_result_depends_on_pixels_and_seed_alone(model_folder: Path) -> None:
    restore = upscaler(model_folder)
    first = restore(photo(16, 16), 1)
    restore(photo(20, 12), 0)
    assert np.array_equal(first, restore(photo(16, 16), 1))
    assert not np.array_equal(first, restore(photo(16, 16), 2))


def test_tiles_agree_with_the_whole(model_folder: Path) -> None:
    lr = photo(64, 160)
    whole = upscaler(model_folder)(lr, 0).astype(float)
    tiled = upscaler(model_folder, tile=64, overlap=32)(lr, 0).astype(float)
    # Group normalisation looks at all of a tile, so tiles are not equal to the whole, but close: 2 of 255 levels, where
    # another seed's restoration is 12 levels away.
    other_seed = upscaler(model_folder)(lr, 1).astype(float)
    assert 0 < np.abs(tiled - whole).mean() < 0.3 * np.abs(other_seed - whole).mean()


class Alternating(Upscaler):
    """Tiles of 0.2 and 0.8 in turn: the hardest seams there could be."""

    count = 0

    def _tile(self, lr: NDArray[np.uint8], noise: torch.Tensor, prompt: str, source: Source) -> torch.Tensor:
        self.count += 1
        return torch.full((3, 4 * lr.shape[0], 4 * lr.shape[1]), 0.8 if self.count % 2 else 0.2)


def test_seams_are_ramps(model_folder: Path) -> None:
    restore = Alternating(TinyFlow.load(model_folder, 2, CPU), "none", Tiling(64, 32))
    restored = restore(photo(64, 160), 0).astype(float)
    assert restore.count == 4
    # sin^2 over 32 x 4 = 128 px is steepest in its middle, (pi / 2) / 128 a px; times 0.6 x 255 levels: 1.9.
    steepest = np.abs(np.diff(restored, axis=1)).max()
    assert 1 <= steepest <= 2
    assert (restored.min(), restored.max()) == (51, 204)
    assert (np.diff(restored, axis=0) == 0).all()


def test_colour_fix_is_applied(model_folder: Path) -> None:
    settings = SAMPLING.model_copy(update={"colour_fix": "adain"})
    lr = photo(32, 32)
    fixed = Upscaler.load(model_folder, settings, CPU)(lr, 0)
    assert np.abs(fixed.mean((0, 1)) - lr.mean((0, 1))).max() < 1.0
    assert not np.array_equal(fixed, upscaler(model_folder)(lr, 0))


def test_large_picture_is_refused_naming_the_option(model_folder: Path) -> None:
    with pytest.raises(BadInput, match=r"20 x 10 = 200 px, the limit is 199: .*--max-pixels"):
        upscaler(model_folder, max_pixels=199)(photo(10, 20), 0)


@pytest.mark.parametrize(("scale", "tile", "overlap"), [(4, 128, 32), (8, 64, 16), (16, 32, 8), (3, 168, 40)])
def test_tiles_are_of_the_size_that_text_to_image_models_know(scale: int, tile: int, overlap: int) -> None:
    sd2 = {"family": "sd2_controlnet", "path": "x", "base": "y", "steps": 1, "guidance_scale": 1, "colour_fix": "none"}
    assert default_tiling(BACKBONE.validate_python(sd2 | {"scale": scale})) == Tiling(tile, overlap)
    assert default_tiling(SAMPLING) == Tiling()


def test_negative_seed_is_refused(model_folder: Path) -> None:
    with pytest.raises(BadInput, match="seed -1"):
        upscaler(model_folder)(photo(8, 8), -1)


def test_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="nowhere does not exist"):
        upscaler(tmp_path / "nowhere")


def test_noise_windows_agree_where_they_overlap(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise_module, "BLOCK", 64)
    model = TinyFlow.load(model_folder, 2, CPU)
    whole = NoiseField(model, "id", 0, 150, 200).window(Span(0, 150), Span(0, 200))
    assert whole.shape == (3, 150, 200)
    assert abs(float(whole.mean())) < 0.02
    assert abs(float(whole.std()) - 1) < 0.02
    field = NoiseField(model, "id", 0, 150, 200)
    for rows, columns in [(Span(0, 90), Span(0, 200)), (Span(60, 150), Span(16, 130)), (Span(100, 150), Span(0, 200))]:
        window = field.window(rows, columns)
        assert torch.equal(window, whole[:, rows.start : rows.stop, columns.start : columns.stop])
