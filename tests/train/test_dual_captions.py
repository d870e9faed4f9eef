"""Winners and losers under prompts of their own, on all backbones that read prompts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from pydantic import ValidationError

from components.artifacts import tables
from components.backbones.base import Backbone, Condition
from components.backbones.flux_controlnet import FluxControlNet
from components.backbones.sd2_controlnet import SD2ControlNet
from components.backbones.sd3_controlnet import SD3ControlNet
from components.settings import Settings, TrainSettings
from components.settings.train import LOSER_WORDS
from components.train.batches.pairs import PairBatches
from components.train.conditions import Conditions
from components.train.groups import Group, groups_of
from tests.backbones import tiny_flux, tiny_pipelines, tiny_sd3
from tests.made import small_params, write_params
from tests.train.rig import images_of, write_project

CPU = torch.device("cpu")
WORDS = "dog"


def sd2(root: Path) -> SD2ControlNet:
    base = tiny_pipelines.write_sd_base(root / "base")
    control = tiny_pipelines.write_sd_control(root / "control", base)
    return SD2ControlNet.load(control, tiny_pipelines.sd_settings(base, control), CPU)


def flux(root: Path) -> FluxControlNet:
    base, control = tiny_flux.write_base(root / "base"), tiny_flux.write_control(root / "control")
    return FluxControlNet.load(control, tiny_flux.flux_settings(base, control), CPU)


def sd3(root: Path) -> SD3ControlNet:
    base, control = tiny_sd3.write_base(root / "base"), tiny_sd3.write_control(root / "control")
    return SD3ControlNet.load(control, tiny_sd3.sd3_settings(base, control), CPU)


@pytest.fixture(scope="module", params=[sd2, flux, sd3], ids=lambda make: make.__name__)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    """A policy a little away from its reference."""
    made: Backbone = request.param(tmp_path_factory.mktemp("text"))
    torch.manual_seed(5)
    with torch.no_grad():
        for weight in made.policy.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    return made


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("project")
    write_project(root)
    return root


def batches(project: Path, model: Backbone, words: str, both: bool = False, **train: Any) -> PairBatches:
    """Batches of two groups; with `both` a candidate wins over one and loses to another."""
    plain = {"groups_per_step": 2, "micro_batch": 2, "beta": 1.0} | train
    settings: TrainSettings = write_params(project, train=plain).train.model_copy(update={"dual_captions": words})
    groups = groups_of(tables.read_rows(project / "data/pairs.parquet", tables.PAIRS))
    if both:
        groups = {
            name: Group(group.lr_id, (0, 1, 2), (0, 1), (1, 2), (1.0, 2.0), (0.5, 0.5))
            for name, group in groups.items()
        }
    return PairBatches(settings, model, groups, images_of(project), Accelerator(cpu=True))


def loss_and_gradients(found: PairBatches, model: Backbone) -> tuple[torch.Tensor, list[torch.Tensor]]:
    (batch,) = found.of_step(0)
    model.policy.zero_grad()
    result = found.loss(model, batch)
    result.loss.backward()
    gradients = [weight.grad for weight in model.policy.parameters() if weight.grad is not None]
    return torch.cat([result.loss.detach().double()[None], result.sums.flatten()]), gradients


@pytest.mark.parametrize("shared_by", ["group", "pair"])
def test_the_same_prompt_twice_is_the_plain_objective_bit_for_bit(
    project: Path, model: Backbone, monkeypatch: pytest.MonkeyPatch, shared_by: str
) -> None:
    plain, gradients = loss_and_gradients(batches(project, model, "", noise_shared_by=shared_by), model)
    other, _ = loss_and_gradients(batches(project, model, WORDS, noise_shared_by=shared_by), model)
    assert not torch.equal(plain, other)
    of: Callable[..., Condition] = Conditions.of
    monkeypatch.setattr(Conditions, "of", lambda self, lr_ids, device, words="": of(self, lr_ids, device))
    same, again = loss_and_gradients(batches(project, model, WORDS, noise_shared_by=shared_by), model)
    assert torch.equal(same, plain)
    assert all(torch.equal(one, two) for one, two in zip(gradients, again, strict=True))


@pytest.mark.parametrize("both", [False, True])
def test_errors_are_those_under_each_ones_prompt(project: Path, model: Backbone, both: bool) -> None:
    """Policy and reference alike; a candidate in both roles has an error in each."""
    found = batches(project, model, WORDS, both)
    (batch,) = found.of_step(0)
    group = batch.groups[0][0]
    drawn = found.drawn(model, 0, group)
    with torch.no_grad():
        told = model.errors(drawn.clean, found.condition_of([group], [drawn]), drawn.t, drawn.noise)
    images = images_of(project)
    clean = model.encode(images.candidates(group.lr_id, group.candidates))
    rows = {"winner": (drawn.pairs.winner, group.winner, ""), "loser": (drawn.pairs.loser, group.loser, WORDS)}
    for row, position, prompt in rows.values():
        condition = model.condition(images.lr(group.lr_id), (prompt,)).repeat(len(group.candidates))
        times, noise = drawn.t[:1].repeat(len(clean)), drawn.noise[:1].repeat(len(clean), 1, 1, 1)
        with torch.no_grad():
            plain = model.errors(clean, condition, times, noise)
        for one, two in zip(told, plain, strict=True):
            assert torch.allclose(one[row], two[list(position)], rtol=1e-4)


def test_roles() -> None:
    group = Group("a", (4, 5, 9), (0, 1), (1, 2), (1.0, 1.0), (0.5, 0.5))
    rows, pairs, lost = group.by_role(CPU)
    assert (rows, lost) == ([0, 1, 2, 1], [False, False, True, True])
    assert (pairs.winner.tolist(), pairs.loser.tolist()) == ([0, 1], [3, 2])


def test_words_and_refusals() -> None:
    values = small_params()
    values["train"] |= {"dual_captions": True}
    with pytest.raises(
        ValidationError, match=r"backbone\.family is tiny_flow: set it to \"\", or take one of sd2_cont"
    ):
        Settings.model_validate(values)
    assert TrainSettings.model_validate(values["train"]).dual_captions == LOSER_WORDS
    values["train"] |= {"dual_captions": ""}
    assert "dual_captions" not in Settings.model_validate(values).train.model_dump()
    values["train"] |= {"dual_captions": "noise", "objective": "winners_only"}
    with pytest.raises(ValidationError, match="dual_captions 'noise' are of losers"):
        TrainSettings.model_validate(values["train"])
