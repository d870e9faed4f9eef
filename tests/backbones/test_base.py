"""Noise by identity, and rows whose bits depend on themselves alone."""

from typing import Any

import pytest
import torch

from components.artifacts.images import to_8bit
from components.backbones import restore
from components.backbones.base import Backbone, Condition, candidate_noise, candidate_seed
from components.backbones.colour import ColourFix, fix_colours
from components.backbones.restore import BLOCK, Samples, sample, sample_rows
from tests.made import tiny_model

M = 16


def test_noise_is_a_function_of_lr_and_index() -> None:
    first = candidate_noise("a", 3, (3, 8, 8))
    torch.manual_seed(1)
    torch.randn(7)
    assert torch.equal(first, candidate_noise("a", 3, (3, 8, 8)))
    assert not torch.equal(first, candidate_noise("a", 4, (3, 8, 8)))
    assert not torch.equal(first, candidate_noise("b", 3, (3, 8, 8)))
    assert candidate_seed("a", 12) != candidate_seed("a1", 2)
    many = candidate_noise("a", 0, (3, 200, 200))
    assert float(many.mean()) == pytest.approx(0.0, abs=0.015)
    assert float(many.std()) == pytest.approx(1.0, abs=0.01)


def test_condition_repeats_rows_as_neighbours() -> None:
    condition = Condition(torch.arange(2.0).view(2, 1, 1, 1), ("a", "b"))
    uneven = condition.repeat(2, 3)
    assert uneven.upsampled.flatten().tolist() == [0, 0, 1, 1, 1]
    assert uneven.prompts == ("a", "a", "b", "b", "b")
    assert condition.repeat(2).prompts == ("a", "a", "b", "b")
    assert condition.take([1, 0, 1]).prompts == ("b", "a", "b")
    assert condition.take([1, 0, 1]).upsampled.flatten().tolist() == [1, 0, 1]


def test_encodings_go_with_their_rows() -> None:
    condition = Condition(torch.zeros(2, 3, 1, 1), ("a", "b"), {"text": torch.arange(4.0).view(2, 2)})
    assert condition.repeat(1, 2).encodings["text"].tolist() == [[0, 1], [2, 3], [2, 3]]
    assert condition.take([1]).encodings["text"].tolist() == [[2, 3]]
    joined = Condition.join([condition.take([1]), condition])
    assert joined.encodings["text"].tolist() == [[2, 3], [0, 1], [2, 3]]
    assert joined.prompts == ("b", "a", "b")
    assert joined.upsampled.shape == (3, 3, 1, 1)


def test_both_errors_are_those_of_the_branches() -> None:
    model = tiny_model()
    with torch.no_grad():
        next(model.policy.parameters()).add_(0.1)
    condition = model.condition(torch.rand(2, 3, 8, 8, generator=torch.manual_seed(0)), ("", ""))
    latents, noise = torch.rand(2, *model.latent_shape(32, 32)), torch.randn(2, *model.latent_shape(32, 32))
    t = torch.tensor([0.3, 0.9])
    policy, reference = model.errors(latents, condition, t, noise)
    assert torch.equal(policy, model.error(latents, condition, t, noise, "policy"))
    assert torch.equal(reference, model.error(latents, condition, t, noise, "reference"))
    assert not torch.allclose(policy, reference)
    assert model.scale == 4


@pytest.mark.parametrize(("side", "channels"), [(8, (16, 16)), (13, (16, 16)), (8, (64, 96))])
def test_bits_do_not_depend_on_the_batch(side: int, channels: tuple[int, ...]) -> None:
    """The widths of the embedded model and of the tests', on a size that folds and one that does not."""
    model = tiny_model(steps=1, channels=channels)
    condition = model.condition(torch.rand(1, 3, side, side, generator=torch.manual_seed(1)), ("",))
    noise = torch.stack([candidate_noise("a", index, model.noise_shape(4 * side, 4 * side)) for index in range(M)])
    whole = sample_rows(model, condition.repeat(M), noise, "reference").images

    for size in (1, 3, M):
        parts = [
            sample_rows(model, condition.repeat(len(part)), part, "reference").images for part in noise.split(size)
        ]
        assert torch.equal(torch.cat(parts), whole), size
    order = torch.randperm(M, generator=torch.manual_seed(2)).tolist()
    shuffled = sample_rows(model, condition.repeat(M), noise[order], "reference").images
    assert torch.equal(shuffled, whole[order])
    assert torch.allclose(whole, sample(model, condition.repeat(M), noise, "reference").images, atol=1e-5)


def test_bits_do_not_depend_on_the_other_rows() -> None:
    """Rows of different LR images in one batch, as validation has them."""
    model = tiny_model()
    lrs = torch.rand(3, 3, 8, 8, generator=torch.manual_seed(1))
    noise = torch.stack([candidate_noise("a", index, (3, 32, 32)) for index in range(3)])
    together = sample_rows(model, model.condition(lrs, ("",) * 3), noise, "reference").images
    for row in range(3):
        alone = model.condition(lrs[row : row + 1], ("",))
        assert torch.equal(sample_rows(model, alone, noise[row : row + 1], "reference").images[0], together[row])


@pytest.mark.parametrize("how", ["adain", "wavelet"])
def test_colour_fixed_bits_do_not_depend_on_the_batch(how: ColourFix) -> None:
    images = torch.rand(M, 3, 32, 32, generator=torch.manual_seed(0))
    upsampled = torch.rand(1, 3, 32, 32)
    whole = fix_colours(images, upsampled, how)
    for size in (1, 3):
        assert torch.equal(torch.cat([fix_colours(part, upsampled, how) for part in images.split(size)]), whole)


def test_every_batch_has_one_size(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model()
    sizes = []

    def counting(backbone: Backbone, condition: Condition, noise: torch.Tensor, *rest: Any) -> Samples:
        sizes.append((len(condition.prompts), len(condition.upsampled), len(noise)))
        return sample(backbone, condition, noise, *rest)

    monkeypatch.setattr(restore, "sample", counting)
    block = BLOCK["cpu"]
    condition = model.condition(torch.rand(1, 3, 8, 8), ("",)).repeat(block + 1)
    images = sample_rows(model, condition, torch.randn(block + 1, 3, 32, 32), "reference").images
    assert sizes == [(block, block, block)] * 2
    assert len(images) == block + 1
    assert len(to_8bit(images)) == block + 1
