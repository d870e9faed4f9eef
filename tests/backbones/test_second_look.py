"""The embedded model's second look: by the whole restorer, and by its last blocks alone."""

from pathlib import Path

import pytest
import torch
from torch import nn

from components.backbones.restorer_flow import (
    COARSE,
    LR,
    RestorerFlow,
    RestorerFlowConfig,
    load,
    projected,
    read_config,
    saved_digests,
)
from components.backbones.restorers.restorer import Restorer, load_restorer
from components.errors import BadInput
from components.settings import RestorerFlowSettings
from tests.backbones.test_restorer_flow import CPU, SMALL, Constant, Nearest, model
from tests.made import ncnn_enlarger, ncnn_trunk


@pytest.mark.parametrize("detail", [2, 4])
def test_the_restorer_looks_again_at_the_lr_with_the_samples_correction_in_it(detail: int) -> None:
    """x = projected(restorer(LR + w (z - D p)), z); a flat correction of .1 with w = .5 moves the LR by .05."""
    flow = model(second_look=0.5, detail=detail)
    seen = flow.condition(torch.rand(1, 3, 8, 8, generator=torch.manual_seed(2)) * 0.5 + 0.2, ("",))
    latents = seen.encodings[COARSE] + 0.1
    expected = projected(Nearest()(seen.encodings[LR] + 0.05), latents, detail)
    torch.testing.assert_close(flow.decode(latents, seen), expected.clamp(0.0, 1.0), atol=1e-5, rtol=0.0)


class Threshold(nn.Module):
    """A restorer that draws a pattern of the finest texture where the LR is light."""

    def forward(self, lr: torch.Tensor) -> torch.Tensor:
        pattern = torch.tensor([0.4, 0.6]).repeat(2 * lr.shape[-1])
        light = nn.functional.interpolate((lr > 0.5).float(), scale_factor=4)
        return light * pattern + (1.0 - light) * 0.5


@pytest.mark.parametrize(("second_look", "differs"), [(0.0, False), (1.0, True)])
def test_samples_differ_in_the_finest_texture_only_by_a_second_look(second_look: float, differs: bool) -> None:
    config = RestorerFlowConfig(detail=4, unit=(-4.0, 0.0, 0.0, 0.0), second_look=second_look)
    flow = RestorerFlow(config, Constant(0.0), Restorer("r", Threshold()), 1, CPU)
    seen = flow.condition(torch.full((1, 3, 8, 8), 0.49), ("",))
    one, other = (flow.decode(seen.encodings[COARSE] + change, seen) for change in (-0.05, 0.05))
    step = lambda image: (image[..., 1:] - image[..., :-1])[..., 4:-4].abs().mean()  # noqa: E731
    assert step(one) < 1e-5
    assert (step(other) > 0.1) == differs


def test_settings_may_ask_for_a_second_look_that_the_saved_model_does_not_take(tmp_path: Path) -> None:
    config = RestorerFlowConfig(**SMALL, restorer=str(ncnn_enlarger(tmp_path)))  # type: ignore[arg-type]
    folder = tmp_path / "model"
    folder.mkdir()
    RestorerFlow.new(config, 2, CPU).save(folder)
    own, asked = (
        RestorerFlowSettings(family="restorer_flow", path=folder, steps=2, colour_fix="none", second_look=second_look)
        for second_look in (None, 0.5)
    )
    loaded = load(folder, asked, CPU)
    assert loaded.config.second_look == 0.5
    assert loaded.digest("policy") == saved_digests(asked)[0] != saved_digests(own)[0]
    aligned = tmp_path / "aligned"
    aligned.mkdir()
    loaded.save(aligned)
    assert read_config(aligned).second_look == 0.5


def look_settings(folder: Path, blocks: int | None, strength: float | None = 3.0) -> RestorerFlowSettings:
    return RestorerFlowSettings(
        family="restorer_flow",
        path=folder,
        steps=2,
        colour_fix="none",
        second_look=strength,
        second_look_blocks=blocks,
    )


def saved_on_a_trunk(tmp_path: Path, **changes: object) -> Path:
    config = RestorerFlowConfig(**SMALL | changes, restorer=str(ncnn_trunk(tmp_path)))  # type: ignore[arg-type]
    folder = tmp_path / "model"
    folder.mkdir()
    RestorerFlow.new(config, 2, CPU).save(folder)
    return folder


def test_the_last_blocks_alone_look_again(tmp_path: Path) -> None:
    """q = the last k blocks' picture of LR + (z - D p), told w times as strongly; then the same projection."""
    flow = load(saved_on_a_trunk(tmp_path), look_settings(tmp_path / "model", blocks=2), CPU)
    lr = torch.rand(1, 3, 8, 8, generator=torch.manual_seed(2)) * 0.5 + 0.2
    seen = flow.condition(lr, ("",))
    correction = 0.05 * torch.randn(2, 3, 8, 8, generator=torch.manual_seed(3))
    latents = seen.encodings[COARSE] + correction
    eye = load_restorer(str(tmp_path / "trunk3.param"), tmp_path, CPU)
    looked = eye.look(lr, 2)
    for row in range(2):
        changed = (lr + correction[row : row + 1]).clamp(0, 1)
        again = eye.look_again(changed, looked.features, looked.state, 2, 3.0)
        expected = projected(again, latents[row : row + 1], 4).clamp(0.0, 1.0)
        found = flow.decode(latents, seen.take([0, 0]))[row : row + 1]
        torch.testing.assert_close(found, expected)


def test_a_second_look_of_blocks_has_its_own_digest_and_is_saved(tmp_path: Path) -> None:
    folder = saved_on_a_trunk(tmp_path, second_look=2.0, second_look_blocks=1)
    digests = {
        (strength, blocks): saved_digests(look_settings(folder, blocks, strength))[0]
        for strength, blocks in [(None, None), (2.0, 1), (3.0, None), (2.0, 2), (2.0, 0), (0.0, 2), (0.0, 0)]
    }
    assert digests[None, None] == digests[2.0, 1]
    assert digests[0.0, 2] == digests[0.0, 0]  # without a look its blocks say nothing
    assert len(set(digests.values())) == 5
    loaded = load(folder, look_settings(folder, 2, 3.0), CPU)
    assert loaded.digest("policy") == saved_digests(look_settings(folder, 2, 3.0))[0]


def test_more_blocks_than_the_restorer_has_are_refused(tmp_path: Path) -> None:
    folder = saved_on_a_trunk(tmp_path)
    with pytest.raises(BadInput, match=r"second_look_blocks 3: .* has 2 residual blocks .* or 0 for all of it"):
        load(folder, look_settings(folder, 3), CPU)
    load(folder, look_settings(folder, 3, strength=0.0), CPU)  # nobody looks
