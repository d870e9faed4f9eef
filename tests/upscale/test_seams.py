"""Seams of tiled restorations through a latent backbone, measured against the whole; and the memory that tiles take."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from components.backbones.base import Source
from components.backbones.sd2_controlnet import SD2ControlNet
from components.plan.counting import LiveBytes
from components.upscale import upscaler
from components.upscale.tiles import Span, blend_weights, spans
from components.upscale.upscaler import Tiling, Upscaler
from tests.backbones.tiny_pipelines import sd_settings, write_sd_base, write_sd_control
from tests.upscale.conftest import photo

TILING = Tiling(tile=32, overlap=16)
WHOLE = Tiling(tile=256, overlap=16)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> SD2ControlNet:
    root = tmp_path_factory.mktemp("sd2")
    base = write_sd_base(root / "base")
    control = write_sd_control(root / "control", base)
    return SD2ControlNet.load(control, sd_settings(base, control, steps=2, guidance_scale=1.0), torch.device("cpu"))


def steps(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Mean difference of each column of pixels from the one before it, grey levels."""
    result: NDArray[np.float64] = np.abs(np.diff(image.astype(float), axis=1)).mean((0, 2))
    return result


def cut(parts: list[Span], ramp: int) -> list[Tensor]:
    """Weights of tiles that are pasted side by side: each counts up to the middle of its overlaps, and then not."""
    weights = [torch.zeros(part.stop - part.start) for part in parts]
    owner = torch.stack([torch.tensor([part.start, part.stop]).float().mean() for part in parts])
    for position in range(parts[-1].stop):
        covering = [i for i, part in enumerate(parts) if part.start <= position < part.stop]
        nearest = min(covering, key=lambda i: abs(float(owner[i]) - position - 0.5))
        weights[nearest][position - parts[nearest].start] = 1.0
    return weights


def seam_ratio(image: NDArray[np.uint8], borders: list[int]) -> float:
    """Mean step over the borders, of the mean step elsewhere; 1 where nothing shows."""
    found = steps(image)
    at = [border - 1 for border in borders]  # the step from the pixel before a border to the one behind it
    return float(found[at].mean() / np.delete(found, at).mean())


class Toned(Upscaler):
    """Tiles in turn brighter and darker by 26 grey levels: what a model does that sets each tile's tone anew."""

    count = 0

    def _tile(self, lr: NDArray[np.uint8], noise: Tensor, prompt: str, source: Source) -> Tensor:
        self.count += 1
        return 0.2 * super()._tile(lr, noise, prompt, source) + (0.5 if self.count % 2 else 0.3)


PLACES = [part.scaled(4) for part in spans(112, TILING.tile, TILING.overlap)]
EDGES = sorted({edge for part in PLACES for edge in (part.start, part.stop)} - {0, 448})
MIDDLES = [(before.stop + after.start) // 2 for before, after in pairwise(PLACES)]


def test_borders_of_tiles_are_like_any_other_place(model: SD2ControlNet) -> None:
    assert len(PLACES) == 6
    whole, tiled = (Upscaler(model, "none", tiling)(photo(32, 112), 0) for tiling in (WHOLE, TILING))
    assert not np.array_equal(whole, tiled)
    for borders in (EDGES, MIDDLES):
        assert abs(seam_ratio(tiled, borders) - seam_ratio(whole, borders)) < 0.1
    # Nor are tiles further from the whole near their borders than elsewhere.
    error = np.abs(tiled.astype(float) - whole).mean((0, 2))
    near = np.unique(np.concatenate([np.arange(edge - 2, edge + 2) for edge in EDGES]))
    assert error[near].mean() < 1.25 * np.delete(error, near).mean()


def test_a_seam_that_pasting_would_show_is_gone(model: SD2ControlNet, monkeypatch: pytest.MonkeyPatch) -> None:
    blended = Toned(model, "none", TILING)(photo(32, 112), 0)
    assert max(seam_ratio(blended, borders) for borders in (EDGES, MIDDLES)) < 1.2
    monkeypatch.setattr(upscaler, "blend_weights", cut)
    pasted = Toned(model, "none", TILING)(photo(32, 112), 0)
    assert seam_ratio(pasted, MIDDLES) > 3.0


@pytest.mark.parametrize("ramp", [16, 64])
def test_a_blended_step_is_spread_over_the_whole_overlap(ramp: int) -> None:
    """Between tiles that differ by 1, no step of the blend exceeds that of sin^2 over the overlap, pi / (2 ramp)."""
    left, right = Span(0, 2 * ramp), Span(ramp, 3 * ramp)
    weights = blend_weights([left, right], ramp)
    blended = torch.zeros(3 * ramp)
    blended[right.start :] += weights[1]
    assert (blended[0], blended[-1]) == (0.0, 1.0)
    slope = blended.diff()
    assert float(slope.max()) < np.pi / (2 * ramp)
    assert float(slope.min()) >= 0.0
    # No crease where the overlap begins and ends: the first step there is a small part of the steepest.
    assert float(slope[ramp - 1]) < float(slope.max()) * np.pi / ramp
    assert float(slope[2 * ramp - 1]) < float(slope.max()) * np.pi / ramp


def peak(model: SD2ControlNet, height: int, width: int, tiling: Tiling) -> int:
    restore, lr = Upscaler(model, "adain", tiling), photo(height, width)
    live = LiveBytes([])
    with live:
        restore(lr, 0)
    return live.peak


def test_memory_is_bounded_by_the_tile_and_the_width(model: SD2ControlNet) -> None:
    """Tensors alive at once; the 8-bit picture itself is numpy's and not among them."""
    first, twice, thrice = (peak(model, height, 32, TILING) for height in (48, 96, 144))
    assert twice == pytest.approx(first, rel=0.02)
    assert thrice == pytest.approx(twice, rel=0.02)
    # A wider picture takes a wider band: float32, three colours, a tile high, and its successor while it moves.
    wider = peak(model, 48, 64, TILING) - first
    assert wider <= 2 * (4 * 3 * 4 * TILING.tile * 4 * 32) + 0.05 * first
    assert peak(model, 144, 32, WHOLE) > 2 * thrice
