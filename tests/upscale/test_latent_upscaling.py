"""Large pictures through a latent backbone, of sizes that its latents do not divide."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from components.artifacts.images import to_8bit, to_tensor
from components.backbones import restore
from components.backbones.base import Backbone, Condition, candidate_noise
from components.backbones.restore import sample
from components.backbones.sd2_controlnet import SD2ControlNet
from components.storage.digests import of_pixels
from components.upscale import noise as noise_module
from components.upscale.noise import NoiseField
from components.upscale.tiles import Span
from components.upscale.upscaler import Tiling, Upscaler
from tests.backbones.tiny_pipelines import sd_settings, write_sd_base, write_sd_control

CPU = torch.device("cpu")
STEPS = 2


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> SD2ControlNet:
    root = tmp_path_factory.mktemp("sd2")
    base = write_sd_base(root / "base")
    control = write_sd_control(root / "control", base)
    return SD2ControlNet.load(control, sd_settings(base, control, steps=STEPS, guidance_scale=1.0), CPU)


def picture(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_a_picture_of_one_block_is_a_candidate(model: SD2ControlNet) -> None:
    lr = picture(7, 9)
    noise = candidate_noise(of_pixels(lr), 3, model.noise_shape(28, 36))
    candidate = sample(model, model.condition(to_tensor(lr), ("",)), noise[None]).images
    assert np.array_equal(Upscaler(model, "none")(lr, 3), to_8bit(candidate)[0])


def test_tiles_of_sizes_that_latents_do_not_divide(model: SD2ControlNet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise_module, "BLOCK", 128)
    sizes: list[tuple[int, ...]] = []

    def noting(backbone: Backbone, condition: Condition, noise: torch.Tensor, *rest: Any) -> restore.Samples:
        sizes.append(tuple(noise.shape))
        return sample(backbone, condition, noise, *rest)

    monkeypatch.setattr(restore, "sample", noting)
    restored = Upscaler(model, "adain", Tiling(tile=32, overlap=16))(picture(19, 45), 0)
    assert restored.shape == (76, 180, 3)
    assert sizes == [(1, STEPS, 4, 10, 16), (1, STEPS, 4, 10, 15)]  # 76 x 128 and 76 x 116 px


def test_noise_windows_agree_where_they_overlap(model: SD2ControlNet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise_module, "BLOCK", 64)
    height, width = 150, 203
    whole = NoiseField(model, "id", 0, height, width).window(Span(0, height), Span(0, width))
    assert whole.shape == model.noise_shape(height, width) == (STEPS, 4, 19, 26)
    assert float(whole.std()) == pytest.approx(1.0, abs=0.05)
    field = NoiseField(model, "id", 0, height, width)
    for rows, columns in [(Span(0, 96), Span(0, 203)), (Span(64, 150), Span(16, 144)), (Span(120, 150), Span(32, 203))]:
        window = field.window(rows, columns)
        assert window.shape == model.noise_shape(rows.stop - rows.start, columns.stop - columns.start)
        top, left = rows.start // 8, columns.start // 8
        expected = whole[..., top : top + window.shape[-2], left : left + window.shape[-1]]
        assert torch.equal(window, expected)
