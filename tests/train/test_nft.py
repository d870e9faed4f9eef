"""DiffusionNFT: golden values, its gradient at the old policy, resuming inside a roll-out, and that it learns."""

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from pydantic import ValidationError

from components.backbones.tiny_flow import TinyFlow
from components.settings import NFTSource, Settings, load_settings
from components.train.batches.nft import NFTBatches, contrast, optimality
from tests.made import REPOSITORY
from tests.train.rig import write_project
from tests.train.test_prdp import learned, settings_of, trainer_of, verdicts_of

SOURCE = NFTSource(kind="nft", candidates=4, inner_steps=2, advantage_clip=2.0)


def batches_of(root: Path, model: TinyFlow, **train: Any) -> NFTBatches:
    settings = settings_of(root, train.pop("source", SOURCE.model_dump()), **train)
    assert isinstance(settings.train.source, NFTSource)
    verdicts = verdicts_of(root, settings)
    return NFTBatches(settings.train, settings.train.source, model, model.sampler, verdicts, Accelerator(cpu=True))


def test_golden_values() -> None:
    """One element, t = .5, old 1, policy 1.2, v = 2, beta .5: v+ = 1.1, v- = .9; D = t |u - v| for one element."""
    source = SOURCE.model_copy(update={"beta": 0.5, "advantage_clip": 5.0})
    values = [torch.tensor([[[[value]]]]) for value in (1.2, 1.0, 2.0)]
    found = contrast(*values, torch.tensor([0.5]), torch.tensor([0.75]), source)
    assert found.positive.item() == pytest.approx(0.45)
    assert found.negative.item() == pytest.approx(0.55)
    assert found.losses.item() == pytest.approx((0.75 * 0.45 + 0.25 * 0.55) * 5.0 / 0.5)
    rewards = torch.tensor([0.0, 2.5, 5.0, 9.0, -9.0, torch.nan])
    assert optimality(rewards, 5.0).tolist() == pytest.approx([0.5, 0.75, 1.0, 1.0, 0.0, 0.5])


@pytest.mark.parametrize("beta", [0.1, 1.0])
def test_at_the_old_policy_the_gradient_is_plain_trainings_times_2r_less_1(beta: float) -> None:
    """d/dv of clip/beta [r D(v+) + (1 - r) D(v-)] = clip (2r - 1) dD(v): the same for every beta."""
    generator = torch.Generator().manual_seed(1)
    old, target = (torch.randn(3, 2, 4, 4, generator=generator) for _ in range(2))
    velocity = old.clone().requires_grad_()
    t, r = torch.tensor([0.3, 0.8, 1.0]), torch.tensor([1.0, 0.5, 0.2])
    source = SOURCE.model_copy(update={"beta": beta, "advantage_clip": 3.0})
    (found,) = torch.autograd.grad(contrast(velocity, old, target, t, r, source).losses.sum(), velocity)
    error, times = old - target, t.view(-1, 1, 1, 1)
    plain = 2.0 * times * error / error.abs().mean(dim=(1, 2, 3), keepdim=True) / error[0].numel()
    torch.testing.assert_close(found, 3.0 * (2.0 * r - 1.0).view(-1, 1, 1, 1) * plain, rtol=1e-4, atol=1e-6)
    assert not (found[1].abs() > 1e-7).any()
    # away from it r = 1/2 pulls back: to both sides of the old policy the loss is larger
    at, beyond = (
        contrast(old + far * torch.ones_like(old), old, target, t, r, source).losses[1] for far in (0.0, 5.0 / beta)
    )
    assert beyond > at


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_a_run_that_ends_inside_a_roll_out_goes_on_to_the_same_bytes(tmp_path: Path, stop: int) -> None:
    write_project(tmp_path)
    plan = {"checkpoint_every": 1, "source": SOURCE.model_dump() | {"old_rate": 0.1}}
    whole = trainer_of(tmp_path, batches_of, "whole", steps=4, **plan).run()
    trainer_of(tmp_path, batches_of, "parts", steps=stop, **plan).run()
    parts = trainer_of(tmp_path, batches_of, "parts", steps=4, **plan).run()
    assert all(torch.equal(parts.policy[name], value) for name, value in whole.policy.items())
    assert [row["loss"] for row in parts.log] == [row["loss"] for row in whole.log]
    # a roll-out begins at the policy, or, after a rate of .1 a step, a fifth of the way before it
    assert whole.log[0]["moved"] == 0.0
    assert whole.log[2]["moved"] > 0.0
    assert set(whole.log[0]) >= {"loss", "positive", "negative", "moved", "left_reference", "rolled_psnr"}


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_it_learns_a_reward_that_has_no_gradient_and_its_opposite(tmp_path: Path, sign: float) -> None:
    """Two groups a step are enough where candidates share t and noise; with a draw for each the noise is larger."""
    gain = sign * learned(tmp_path, batches_of, sign, SOURCE.model_dump() | {"candidates": 8})
    assert gain > 0.01


def test_a_model_that_predicts_no_velocity_is_refused_by_name() -> None:
    values = load_settings(REPOSITORY / "presets/c-sd2.yaml").model_dump(by_alias=True)
    values["train"]["source"] = "nft"
    with pytest.raises(ValidationError, match=r"train\.source nft is for flows, backbone\.family is sd2_controlnet"):
        Settings.model_validate(values)
    values["train"]["source"] = "prdp"
    assert Settings.model_validate(values).train.source.rolled
