"""Diffusion-SDPO by hand, against autograd, and around every objective."""

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from components.settings import OBJECTIVE_KINDS, PreferenceSettings, Settings
from components.train.batches.pairs import with_residuals
from components.train.objectives import objective_of
from components.train.pairs import Pairs
from components.train.safeguard import loser_scales, safeguarded
from tests.made import small_params
from tests.train.rig import double_model, trainer


def pairs(winner: list[int], loser: list[int]) -> Pairs:
    ones = torch.ones(len(winner))
    known = {"margin": 0.2 * ones, "label_noise": 0.1 * ones, "target": 0.3 * ones}
    return Pairs(torch.tensor(winner), torch.tensor(loser), ones, ones, **known)


def test_scales_by_hand() -> None:
    """|g_w|^2 = 4: <g_w, g_l> 8 gives .1 * 4 / 8; opposed and orthogonal ones are free; a weak one is cut at 1."""
    residuals = torch.tensor([[2.0, 0.0], [4.0, 1.0], [-1.0, 0.0], [0.0, 3.0], [0.1, 5.0]])
    scales = loser_scales(residuals, pairs([0, 0, 0, 0], [1, 2, 3, 4]), 0.9)
    assert scales.tolist() == pytest.approx([0.05, 1.0, 1.0, 1.0])
    assert loser_scales(residuals, pairs([0], [1]), 1.0).tolist() == [0.0]


@pytest.mark.parametrize("mu", [0.5, 0.9, 1.0])
def test_a_step_along_the_safeguarded_gradient_keeps_mu_of_the_winners_progress(mu: float) -> None:
    generator = torch.Generator().manual_seed(0)
    seen = []
    for _ in range(50):
        residuals = torch.randn(2, 12, generator=generator, dtype=torch.float64) + 1.0  # alike, as in a group
        scale = loser_scales(residuals, pairs([0], [1]), mu)
        seen.append(scale.item())
        winner, loser = residuals
        progress = winner @ winner - scale.item() * (winner @ loser)
        assert progress >= mu * (winner @ winner) - 1e-9
    assert min(seen) < 1.0


@pytest.mark.parametrize("kind", [kind for kind, own in OBJECTIVE_KINDS.items() if issubclass(own, PreferenceSettings)])
def test_values_are_the_objectives_and_losers_gradients_are_scaled(kind: str) -> None:
    objective = objective_of(OBJECTIVE_KINDS[kind].model_validate({"kind": kind, "beta": 2.0}))
    reference, some = torch.tensor([0.5, 0.6, 0.8]), pairs([0, 1], [2, 2])
    scales = torch.tensor([0.25, 1.0])

    def gradients(scaled: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        policy = torch.tensor([0.4, 0.7, 0.9], requires_grad=True)
        found = (
            objective(policy, reference, some)
            if scaled is None
            else safeguarded(objective, policy, reference, some, scaled)
        )
        found.losses.sum().backward()
        assert policy.grad is not None
        return found.losses.detach(), policy.grad

    plain, guarded = gradients(None), gradients(scales)
    assert torch.equal(plain[0], guarded[0])
    assert torch.equal(gradients(torch.ones(2))[1], plain[1])
    assert torch.equal(plain[1][:2], guarded[1][:2])  # winners'
    alone = gradients(torch.tensor([1.0, 0.0]))[1][2] + 0.25 * gradients(torch.tensor([0.0, 1.0]))[1][2]
    mixed = 0.25 * gradients(torch.tensor([1.0, 0.0]))[1][2] + gradients(torch.tensor([0.0, 1.0]))[1][2]
    assert guarded[1][2].item() == pytest.approx(mixed.item())
    assert guarded[1][2].item() != pytest.approx(alone.item())


@pytest.mark.parametrize("noise_shared_by", ["group", "pair"])
def test_training_with_it_logs_what_it_restrains_and_keeps_winners_nearer(
    project: Path, tmp_path: Path, noise_shared_by: str
) -> None:
    changes: dict[str, Any] = {"beta": 50.0, "steps": 12, "noise_shared_by": noise_shared_by, "learning_rate": 1e-3}
    plain = trainer(project, str(tmp_path / "plain"), double_model(), **changes).run()
    kept = trainer(project, str(tmp_path / "kept"), double_model(), safeguard=0.9, **changes).run()
    assert "restrained" not in plain.log[0]
    assert kept.log[0]["restrained"] > 0.5  # candidates of a group are alike
    assert kept.log[0]["loss"] == pytest.approx(plain.log[0]["loss"], rel=1e-9)
    assert kept.log[0]["gradient_norm"] != pytest.approx(plain.log[0]["gradient_norm"], rel=1e-3)
    rise = [state.log[-1]["policy_winner"] / state.log[-1]["reference_winner"] for state in (kept, plain)]
    assert rise[0] < rise[1]


def test_errors_with_their_residuals_are_the_backbones() -> None:
    model = double_model()
    generator = torch.Generator().manual_seed(1)
    lr, x0 = (torch.rand(2, 3, side, side, generator=generator, dtype=torch.float64) for side in (8, 32))
    condition, t = model.condition(lr, ("", "")), torch.tensor([0.3, 0.9], dtype=torch.float64)
    noise = torch.randn(x0.shape, generator=generator, dtype=torch.float64)
    residuals, policy, reference = with_residuals(model, x0, condition, t, noise)
    expected = model.errors(x0, condition, t, noise)
    assert residuals.shape == x0.shape
    assert torch.equal(policy, expected[0])
    assert torch.equal(reference, expected[1])


def test_winners_without_losers_are_refused() -> None:
    values = small_params()
    values["pair"] |= {"builder": "winners_only"}
    values["train"] |= {"objective": "winners_only", "safeguard": 0.9}
    with pytest.raises(ValidationError, match="objective winners_only is for winners alone: set it to 0"):
        Settings.model_validate(values)
