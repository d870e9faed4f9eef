"""Candidates on the path from the noise that they were sampled from."""

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from components.backbones.base import candidate_noise
from components.backbones.restore import restore
from components.errors import BadInput
from components.settings import Settings, load_settings
from tests.made import REPOSITORY, small_params, tiny_model
from tests.train.rig import trainer


@pytest.mark.parametrize("noise_shared_by", ["group", "pair"])
def test_noise_is_each_candidates_own_whatever_the_step_and_t_is_drawn(
    project: Path, tmp_path: Path, noise_shared_by: str
) -> None:
    model = tiny_model()
    batches = trainer(project, str(tmp_path), model, noise="own", noise_shared_by=noise_shared_by).batches
    group = next(iter(batches.groups.values()))
    first, second = (batches.drawn(model, step, group) for step in (0, 1))
    assert torch.equal(first.noise, second.noise)
    assert not torch.equal(first.t, second.t)
    own = [candidate_noise(group.lr_id, index, tuple(first.clean.shape[1:])) for index in group.candidates]
    for position, pair in enumerate(zip(group.winner, group.loser, strict=True)):
        rows = first.pairs.winner[position], first.pairs.loser[position]
        for row, place in zip(rows, pair, strict=True):
            assert torch.equal(first.noise[row], own[place])
        assert first.t[rows[0]] == first.t[rows[1]]


def test_it_is_the_noise_that_generate_samples_from() -> None:
    """A flow that always predicts its noise's negative leaves x_T where it is: the start is that noise, scaled."""
    model = tiny_model()
    seen = []
    lr = torch.rand(1, 3, 8, 8)

    def draw(shape: tuple[int, ...]) -> torch.Tensor:
        seen.append(candidate_noise("lr", 3, shape))
        return seen[-1]

    list(restore(model, lr, ("",), [draw], "none", "reference"))
    clean = model.latent_shape(32, 32)
    assert model.sampler.noise_shape(clean) == clean == tuple(seen[0].shape)
    x, _ = model.noised(torch.zeros(1, *clean), model.condition(lr, ("",)), torch.ones(1), seen[0][None])
    assert torch.equal(x, model.sampler.start(model, seen[0][None]))


def test_it_trains(project: Path, tmp_path: Path) -> None:
    fresh, own = (trainer(project, str(tmp_path / noise), noise=noise, beta=50.0).run() for noise in ("fresh", "own"))
    assert own.log[-1]["loss"] != fresh.log[-1]["loss"]
    assert own.step == 4


def test_a_sampler_that_draws_in_each_step_is_refused(project: Path, tmp_path: Path) -> None:
    settings = load_settings(REPOSITORY / "presets/c-sd2.yaml").model_dump(by_alias=True)
    settings["train"]["noise"] = "own"
    with pytest.raises(ValidationError, match=r"train.noise own is for flows.*sd2_controlnet draws in each step"):
        Settings.model_validate(settings)
    values = small_params()
    values["train"] |= {"noise": "own"}
    Settings.model_validate(values)

    model = tiny_model()
    batches = trainer(project, str(tmp_path), model, noise="own").batches

    class Stochastic:
        def noise_shape(self, latent: tuple[int, ...]) -> tuple[int, ...]:
            return (3, *latent)

    model.sampler = Stochastic()  # type: ignore[assignment]
    with pytest.raises(BadInput, match="this backbone draws noise in each step"):
        batches.drawn(model, 0, next(iter(batches.groups.values())))
