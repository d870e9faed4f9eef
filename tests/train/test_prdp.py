"""PRDP: its loss by hand, its gradient against one graph, resuming inside a roll-out, and that it learns a reward."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from pydantic import ValidationError
from torch import Tensor

from components.backbones.restore import sample
from components.backbones.samplers.stochastic import StochasticFlow
from components.backbones.tiny_flow import TinyFlow
from components.errors import BadInput
from components.metrics.suite import GroupScores as Scored
from components.settings import PRDPSource, Settings
from components.storage.cache import CacheFolder
from components.train.batches.prdp import PRDPBatches, predict_differences
from components.train.batches.rollouts import Rollouts
from components.train.batches.verdicts import Verdicts, in_units
from components.train.trainer import Trainer
from tests.made import REPOSITORY, small_params, tiny_model, write_params
from tests.train.rig import SHORT, images_of, write_project

SOURCE = PRDPSource(kind="prdp", beta=200.0, clip=0.01, candidates=4, inner_steps=2, steps=3)


WEIGHTS = REPOSITORY / "components/backbones/weights/tiny_flow"


class Brightness:
    """A suite of one metric of one's own, which has no gradient: the mean of the green channel's square."""

    names = ("psnr",)  # a name that the table knows, so that its direction is known

    def score(self, images: Tensor, hr: Any, lr: Any, names: Any = None) -> Scored:
        return Scored({"psnr": images[:, 1].square().mean(dim=(1, 2)).double().numpy()}, [])


def settings_of(root: Path, source: dict[str, Any], **train: Any) -> Settings:
    plan = SHORT | {"groups_per_step": 2, "micro_batch": 1, "warmup_steps": 0} | train
    return write_params(root, score={"fr": ["psnr"], "nr": [], "held_out": []}, train=plan | {"source": source})


def verdicts_of(root: Path, settings: Settings) -> Verdicts:
    images = images_of(root)
    has_hr = {lr_id: True for lr_id, row in images._lr_row.items() if row["split"] == "align"}
    made = Verdicts.of(settings, has_hr, images, torch.device("cpu"))
    object.__setattr__(made, "suite", Brightness())
    return made


def batches_of(root: Path, model: TinyFlow, **train: Any) -> PRDPBatches:
    settings = settings_of(root, train.pop("source", SOURCE.model_dump()), **train)
    assert isinstance(settings.train.source, PRDPSource)
    verdicts = verdicts_of(root, settings)
    return PRDPBatches(settings.train, settings.train.source, model, 2, verdicts, Accelerator(cpu=True))


def trainer_of(root: Path, make: Callable[..., Any], folder: str, **train: Any) -> Trainer:
    model = tiny_model(steps=2)
    made = make(root, model, **train)
    settings = made.rollouts.settings
    cache = CacheFolder(root / folder)
    return Trainer(settings, model, made, lambda: {"reward": 0.5}, cache, made.accelerator)


def moved(model: TinyFlow, size: float) -> TinyFlow:
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.policy.parameters():
            parameter.add_(size * torch.randn(parameter.shape, generator=generator))
    return model


def gradient(model: TinyFlow) -> Tensor:
    found = torch.cat([p.grad.flatten() for p in model.policy.parameters() if p.grad is not None])
    model.policy.zero_grad()
    return found


def test_two_candidates_whose_difference_is_predicted_have_no_loss() -> None:
    """r_hat = r / beta + a constant is the optimum, whatever the constant; the mean is over steps, not their sum."""
    rewards = torch.tensor([1.5, -0.5], dtype=torch.float64)
    ratios = (rewards / SOURCE.beta + 0.003).expand(3, 2)
    found = predict_differences(ratios, ratios, rewards, SOURCE)
    assert found.losses.tolist() == [pytest.approx(0.0, abs=1e-20)]
    assert float(found.right) == 1.0
    nothing = predict_differences(torch.zeros(3, 2), torch.zeros(3, 2), rewards, SOURCE)
    assert nothing.losses.tolist() == [pytest.approx((2.0 / SOURCE.beta) ** 2)]
    assert float(nothing.right) == 0.5
    assert len(predict_differences(ratios, ratios, torch.zeros(2), SOURCE).losses) == 0
    assert len(predict_differences(ratios, ratios, torch.tensor([1.0, torch.nan]), SOURCE).losses) == 0


def test_the_clip_does_nothing_at_first_and_holds_what_ran_too_far() -> None:
    """Beyond its bounds a log-ratio has a gradient only where it makes the loss larger, so that it comes back."""
    rewards = torch.tensor([1.0, -1.0], dtype=torch.float64)  # wanted difference .01
    old = torch.zeros(1, 2, dtype=torch.float64)

    def pull(first: float) -> tuple[float, bool]:
        ratios = torch.tensor([[first, 0.0]], dtype=torch.float64, requires_grad=True)
        found = predict_differences(ratios, old, rewards, SOURCE.model_copy(update={"clip": 0.004}))
        (found_gradient,) = torch.autograd.grad(found.losses.sum(), ratios)
        return float(found_gradient[0, 0]), bool(found.clipped[0, 0])

    assert pull(0.0) == (pytest.approx(-2 * 0.01), False)
    assert pull(0.002) == (pytest.approx(-2 * 0.008), False)
    assert pull(0.006) == (0.0, True)  # the clipped one, at .004, is further from .01: it is the loss, and is constant
    assert pull(-0.006) == (pytest.approx(-2 * 0.016), True)
    assert pull(0.03) == (pytest.approx(2 * 0.02), True)  # beyond what is wanted


def test_rewards_are_in_units_of_their_deviation() -> None:
    assert in_units(np.array([1.0, 2.0, 3.0])) == pytest.approx(np.array([-1.0, 0.0, 1.0]) * 1.5**0.5)
    assert in_units(np.array([2.0, 2.0])).tolist() == [0.0, 0.0]


def test_a_steps_gradient_is_that_of_the_whole_loss_in_one_graph(tmp_path: Path) -> None:
    """On the second step of a roll-out, and in parts of other sizes; the log says what the loss is."""
    write_project(tmp_path)
    model = tiny_model(steps=2)
    made = batches_of(tmp_path, model)
    made.of_step(0)
    moved(model, 1e-3)
    groups = made.rollouts.of_step(1).groups
    total, pairs = torch.zeros((), dtype=torch.float64), 0
    for group in groups:
        sampled = group.sampled
        ratios = made.rollouts.log_probs(sampled.states, made.rollouts.condition([group]), "policy", range(2))
        rewards = torch.as_tensor(group.rewards)
        found = predict_differences(
            ratios - sampled.reference, sampled.old - sampled.reference, rewards, made.source
        ).losses
        total, pairs = total + found.sum(), pairs + len(found)
    (total / pairs).backward()
    whole = gradient(model)
    assert pairs == 12
    for size in (1, 2):
        made.size = size
        sums = []
        for batch in made.of_step(1):
            part = made.loss(model, batch)
            part.loss.backward()
            sums.append(part.sums)
        torch.testing.assert_close(gradient(model), whole, rtol=1e-3, atol=1e-8)
        row = made.row(torch.cat(sums).sum(dim=0).tolist())
        assert row["loss"] == pytest.approx(float((total / pairs).detach()), rel=1e-6)
        assert row["images"] == 2 * 2 * 4  # steps that draw, groups, candidates
        assert set(row) == {"loss", "accuracy", "clipped", "log_ratio", "rolled_psnr", "images"}


def test_on_a_fresh_roll_out_policy_and_reference_are_one(tmp_path: Path) -> None:
    write_project(tmp_path)
    model = tiny_model(steps=2)
    made = batches_of(tmp_path, model)
    batches = made.of_step(0)
    row = made.row(torch.stack([batch.sums for batch in batches]).sum(dim=0).tolist())
    assert (row["accuracy"], row["clipped"], row["log_ratio"]) == (0.5, 0.0, 0.0)
    rollout = made.rollouts.of_step(0)
    assert [group.sampled.states.shape for group in rollout.groups] == [(4, 4, 3, 32, 32)] * 2
    assert all(abs(values.mean()) < 1e-9 and values.std() == pytest.approx(1.0) for values in rollout.rewards)
    # once the policy has moved, a roll-out of its own comes with the next one alone
    moved(model, 1e-3)
    assert made.rollouts.of_step(1) is rollout
    following = made.rollouts.of_step(2)
    assert following is not rollout
    assert float((following.groups[0].sampled.old - following.groups[0].sampled.reference).abs().max()) > 0.0


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_a_run_that_ends_inside_a_roll_out_goes_on_to_the_same_bytes(tmp_path: Path, stop: int) -> None:
    """A checkpoint after every step; steps 1 and 3 are in the middle of a roll-out, 2 is between two."""
    write_project(tmp_path)
    whole = trainer_of(tmp_path, batches_of, "whole", steps=4, checkpoint_every=1).run()
    trainer_of(tmp_path, batches_of, "parts", steps=stop, checkpoint_every=1).run()
    parts = trainer_of(tmp_path, batches_of, "parts", steps=4, checkpoint_every=1).run()
    assert all(torch.equal(parts.policy[name], value) for name, value in whole.policy.items())

    def logged(state: Any) -> list[dict[str, float]]:
        return [{name: value for name, value in row.items() if name != "images_per_s"} for row in state.log]

    assert logged(parts) == logged(whole)
    assert len({row["rolled_psnr"] for row in whole.log}) == 2


class Detail:
    """A suite that rewards fine detail, or with `sign` -1 its absence."""

    names = ("psnr",)

    def __init__(self, sign: float) -> None:
        self.sign = sign

    def score(self, images: Tensor, hr: Any, lr: Any, names: Any = None) -> Scored:
        return Scored({"psnr": (self.sign * detail(images)).double().numpy()}, [])


def detail(images: Tensor) -> Tensor:
    """Mean squared difference of neighbours `[B]`."""
    return images.diff(dim=-1).square().mean(dim=(1, 2, 3))


def learned(root: Path, make: Callable[..., Any], sign: float, source: dict[str, Any]) -> float:
    """Change of the detail in a trained model's samples, from noise that no training sees, as a share of it.

    The model is a trained one: of an untrained one, the last step, which draws nothing and so is not taught, need not
    follow the steps before it.
    """
    write_project(root)
    model = TinyFlow.load(WEIGHTS, 2, torch.device("cpu"))
    made = make(root, model, source=source, steps=4, learning_rate=1e-4, checkpoint_every=100, validate_every=100)
    verdicts = made.rollouts.verdicts
    object.__setattr__(verdicts, "suite", Detail(sign))

    def measured() -> float:
        total = 0.0
        for number, lr_id in enumerate(verdicts.has_hr):
            condition = model.condition(verdicts.images.lr(lr_id), ("",)).repeat(4)
            noise = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(77 + number))
            total += float(detail(sample(model, condition, noise, "policy").images).sum())
        return total

    before = measured()
    settings = made.rollouts.settings
    Trainer(settings, model, made, lambda: {"reward": 0.5}, CacheFolder(root / "cache"), made.accelerator).run()
    return measured() / before - 1.0


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_it_learns_a_reward_that_has_no_gradient_and_its_opposite(tmp_path: Path, sign: float) -> None:
    source = SOURCE.model_dump() | {"candidates": 8, "steps": 4, "beta": 1000.0, "clip": 0.001}
    gain = sign * learned(tmp_path, batches_of, sign, source)
    assert gain > 0.005


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"source": {"kind": "prdp", "steps": 1}}, r"prdp samples in 1 step \(train.source.steps\)"),
        ({"source": {"kind": "prdp", "noise_level": 2.0}}, "noise_level"),
        ({"source": {"kind": "prdp", "candidates": 1}}, "candidates"),
        ({"source": "prdp", "safeguard": 0.9}, "safeguard 0.9 is of pairs, and train.source prdp has none"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, Any], told: str) -> None:
    values = small_params()
    values["train"] |= changes
    with pytest.raises(ValidationError, match=told):
        Settings.model_validate(values)


def test_what_it_cannot_train_with_is_refused_by_name(tmp_path: Path) -> None:
    write_project(tmp_path)
    made = batches_of(tmp_path, tiny_model(steps=2))
    assert isinstance(made.rollouts.sampler, StochasticFlow)
    accelerator = Accelerator(cpu=True)
    train = made.rollouts.settings.model_copy(update={"groups_per_step": 3, "micro_batch": 2})
    given = (tiny_model(), made.rollouts.verdicts, accelerator, made.rollouts.sampler)
    with pytest.raises(BadInput, match=r"groups_per_step 3 is not a multiple of train\.micro_batch 2"):
        Rollouts(train, SOURCE, *given)
    with pytest.raises(BadInput, match=r"train\.source\.steps 5000: backbone.steps is 5000: this model takes 1 to"):
        PRDPBatches(
            train, SOURCE.model_copy(update={"steps": 5000}), tiny_model(), 2, made.rollouts.verdicts, accelerator
        )
