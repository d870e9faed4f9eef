"""The loop: equivalences that must hold whatever the batch, the accumulation, a stop and a resume."""

import logging
import math
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from components.backbones.tiny_flow import TinyFlow
from components.errors import BadInput, ResumeLater
from components.train import schedule
from components.train.batches.pairs import PairBatches
from components.train.checkpoints import TrainingState
from components.train.trainer import Trainer
from tests.made import tiny_model
from tests.train.rig import double_model, images_of, trainer

BETA = 50.0
"""A random network's errors are large; with the real beta every sigmoid would be saturated."""


def flat(state: dict[str, Tensor]) -> Tensor:
    return torch.cat([state[name].flatten() for name in sorted(state)])


def without_speed(state: TrainingState) -> list[dict[str, float]]:
    return [{name: value for name, value in row.items() if name != "images_per_s"} for row in state.log]


def watch_gradients(chosen: Trainer, monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The whole gradient of each step to come, as it is before clipping."""
    seen: list[Tensor] = []
    clip = chosen.accelerator.clip_grad_norm_

    def watching(parameters: Any, limit: float) -> Any:
        kept = list(parameters)
        seen.append(torch.cat([parameter.grad.flatten() for parameter in kept]).clone())
        return clip(kept, limit)

    monkeypatch.setattr(chosen.accelerator, "clip_grad_norm_", watching)
    return seen


def explicit_loss(chosen: Trainer, root: Path) -> Tensor:
    """Loss of the first step, pair by pair, four network calls each."""
    settings, model, images = chosen.settings, chosen.backbone, images_of(root)
    lr_ids = schedule.groups_of_step(list(chosen.batches.groups), 0, settings.groups_per_step, settings.seed)
    losses, anchors = [], []
    for lr_id in lr_ids:
        group = chosen.batches.groups[lr_id]
        clean = model.encode(images.candidates(lr_id, group.candidates))
        condition = model.condition(images.lr(lr_id), ("",))
        shape, count = tuple(clean.shape[1:]), len(group.winner)
        own = settings.noise_shared_by == "pair"
        t, noise = schedule.draw_noise(settings, 0, lr_id, shape, count if own else 1)
        winner_errors = []
        for place in range(count):
            draw = slice(place, place + 1) if own else slice(0, 1)
            error = {
                (side, branch): model.error(clean[at : at + 1], condition, t[draw], noise[draw], branch)
                for side, at in (("w", group.winner[place]), ("l", group.loser[place]))
                for branch in ("policy", "reference")
            }
            gap = error["w", "policy"] - error["l", "policy"]
            z = -(settings.objective.beta / 2) * (gap - (error["w", "reference"] - error["l", "reference"]))
            losses.append(torch.tensor(group.weight[place]) * torch.log1p(torch.exp(-z)))
            winner_errors.append(error["w", "policy"])
        anchors.append(torch.cat(winner_errors).mean())
    return torch.cat(losses).mean() + settings.anchor * torch.stack(anchors).mean()


@pytest.mark.parametrize(("noise_shared_by", "anchor"), [("group", 0.0), ("pair", 0.0), ("group", 0.3), ("pair", 0.3)])
def test_a_step_is_the_mean_over_its_pairs(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noise_shared_by: str, anchor: float
) -> None:
    changes: dict[str, Any] = {"noise_shared_by": noise_shared_by, "anchor": anchor, "beta": BETA, "steps": 1}
    chosen = trainer(project, str(tmp_path), double_model(), **changes)
    assert (
        len({len(group.winner) for group in chosen.batches.groups.values()}) > 1
    )  # so that a mean of means would differ
    expected = explicit_loss(chosen, project)
    expected.backward()
    policy = chosen.backbone.policy
    expected_gradient = torch.cat([p.grad.flatten() for p in policy.parameters() if p.grad is not None]).clone()
    policy.zero_grad()
    seen = watch_gradients(chosen, monkeypatch)
    state = chosen.run()
    (found,) = seen
    assert (found - expected_gradient).abs().max() <= 1e-6 * expected_gradient.abs().max()
    assert state.log[0]["gradient_norm"] == pytest.approx(float(expected_gradient.norm()), rel=1e-6)
    if anchor == 0.0:
        assert state.log[0]["loss"] == pytest.approx(expected.item(), rel=1e-6)
        assert state.log[0]["loss"] != pytest.approx(math.log(2.0), abs=1e-3)


def test_micro_batches_change_memory_not_the_result(project: Path, tmp_path: Path) -> None:
    states = [
        trainer(
            project, str(tmp_path / str(size)), double_model(), micro_batch=size, beta=BETA, anchor=0.1, steps=2
        ).run()
        for size in (1, 2, 4)
    ]
    start = flat(double_model().policy.state_dict())
    for state in states[1:]:
        assert torch.allclose(flat(state.policy), flat(states[0].policy), rtol=0, atol=1e-9)
        for row, first in zip(without_speed(state), without_speed(states[0]), strict=True):
            assert row == pytest.approx(first, rel=1e-6)
    assert (flat(states[0].policy) - start).abs().max() > 1e-4


def test_the_first_step_knows_no_preference(project: Path, tmp_path: Path) -> None:
    """float32 and the paper's beta: policy and reference agree to the last bit, so the loss is ln 2 and z is 0."""
    chosen = trainer(project, str(tmp_path), steps=2, beta=5000.0)
    lr_ids = schedule.groups_of_step(list(chosen.batches.groups), 0, 4, 0)
    weights = [weight for lr_id in lr_ids for weight in chosen.batches.groups[lr_id].weight]
    row = chosen.run().log[0]
    assert row["loss"] == pytest.approx(math.log(2.0) * sum(weights) / len(weights), rel=1e-6)
    assert (row["accuracy"], row["margin"]) == (0.5, 0.0)
    assert row["policy_winner"] == row["reference_winner"] > 0
    assert row["policy_loser"] == row["reference_loser"] > 0
    assert row["weight_std"] == pytest.approx(float(torch.tensor(weights).std(correction=0)), rel=1e-4)
    assert row["learning_rate"] == 5e-4
    assert row["gradient_norm"] > 0


def test_the_policy_learns_the_preferences_and_the_reference_stays(project: Path, tmp_path: Path) -> None:
    model = tiny_model()
    before = model.digest("reference")
    state = trainer(project, str(tmp_path), model, steps=18, validate_every=100, checkpoint_every=100).run()
    assert model.digest("reference") == before
    assert model.digest("policy") != before
    assert all(parameter.grad is None for parameter in model.reference.parameters())
    first, last = state.log[0], state.log[-5:]
    assert sum(row["loss"] for row in last) / 5 < 0.8 * first["loss"]
    assert sum(row["accuracy"] for row in last) / 5 > 0.7


@pytest.mark.parametrize(("noise_shared_by", "rows"), [("group", 4), ("pair", 8)])
def test_network_rows_a_group(project: Path, tmp_path: Path, noise_shared_by: str, rows: int) -> None:
    """N = 2: a group costs 2N policy and 2N reference errors for its N^2 pairs; noise of each pair's own, 2N^2."""
    model = tiny_model()
    calls: list[tuple[str, int]] = []
    error = model.error

    def counting(latents: Tensor, condition: Any, t: Tensor, noise: Tensor, branch: Any) -> Tensor:
        calls.append((branch, len(latents)))
        return error(latents, condition, t, noise, branch)

    model.error = counting  # type: ignore[method-assign]
    chosen = trainer(
        project, str(tmp_path), model, steps=1, groups_per_step=6, micro_batch=1, noise_shared_by=noise_shared_by
    )
    chosen.run()
    full = [("policy", rows), ("reference", rows)]
    assert sum(calls[at : at + 2] == full for at in range(0, 12, 2)) == (1 if noise_shared_by == "pair" else 6)
    assert len(calls) == 12  # the other five groups have three pairs, over the same four candidates


def stop_at(call: int, *numbers: signal.Signals) -> Callable[[], dict[str, float]]:
    """A validation in whose n-th call signals arrive, by default SIGTERM."""
    calls: list[int] = []

    def validate() -> dict[str, float]:
        calls.append(1)
        if len(calls) == call:
            for number in numbers or (signal.SIGTERM,):
                signal.raise_signal(number)
        return {"reward": 0.5}

    return validate


@pytest.mark.parametrize(("call", "saved", "number"), [(1, 1, signal.SIGTERM), (2, 3, signal.SIGINT)])
def test_a_signal_saves_the_next_step_and_the_end_is_the_same(
    project: Path, tmp_path: Path, call: int, saved: int, number: signal.Signals
) -> None:
    """The first call is before training, the second after step 3."""
    plan: dict[str, Any] = {"steps": 8, "validate_every": 3, "checkpoint_every": 100}
    straight = trainer(project, str(tmp_path / "straight"), **plan).run()
    handler = signal.getsignal(number)
    with pytest.raises(ResumeLater, match=f"stopped after step {saved} of 8; run it again to continue"):
        trainer(project, str(tmp_path / "stopped"), validate=stop_at(call, number), **plan).run()
    assert signal.getsignal(number) is handler
    assert [path.name for path in (tmp_path / "stopped").iterdir()] == [f"step-{saved:07d}"]
    resumed = trainer(project, str(tmp_path / "stopped"), **plan).run()
    assert torch.equal(flat(resumed.policy), flat(straight.policy))
    assert torch.equal(flat(resumed.best_policy), flat(straight.best_policy))
    assert without_speed(resumed) == without_speed(straight)
    assert resumed.validation == straight.validation


def test_ctrl_c_twice_does_not_wait_for_the_step(project: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        trainer(project, str(tmp_path), validate=stop_at(1, signal.SIGINT, signal.SIGINT)).run()
    assert not (tmp_path / "step-0000001").exists()


def test_sigterm_in_the_last_step_is_no_reason_to_come_back(project: Path, tmp_path: Path) -> None:
    state = trainer(project, str(tmp_path), validate=stop_at(2), steps=3, validate_every=3).run()
    assert state.step == 3


def test_a_damaged_newest_checkpoint_costs_its_steps_alone(
    project: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    straight = trainer(project, str(tmp_path), steps=8, checkpoint_every=2).run()
    newest = tmp_path / "step-0000008/state.pt"
    newest.write_bytes(newest.read_bytes()[:-100])
    with caplog.at_level(logging.INFO, "dp2o.train"):
        resumed = trainer(project, str(tmp_path), steps=8, checkpoint_every=2).run()
    assert "step-0000008 is damaged" in caplog.text
    assert "continuing after step 6" in caplog.text
    assert torch.equal(flat(resumed.policy), flat(straight.policy))
    assert without_speed(resumed) == without_speed(straight)


def test_a_finished_run_does_nothing(project: Path, tmp_path: Path) -> None:
    first = trainer(project, str(tmp_path)).run()
    again = trainer(project, str(tmp_path), validate=lambda: pytest.fail("validated again")).run()
    assert torch.equal(flat(again.policy), flat(first.policy))
    assert again.log == first.log


def test_the_best_policy_is_kept_beside_the_last(project: Path, tmp_path: Path) -> None:
    """Rewards .5, .9, .7, .9 at steps 0, 2, 4, 6: the first .9 is the best."""
    model = tiny_model()
    rewards, policies = iter([0.5, 0.9, 0.7, 0.9]), []

    def validate() -> dict[str, float]:
        policies.append(flat(model.policy.state_dict()).clone())
        return {"reward": next(rewards)}

    state = trainer(project, str(tmp_path), model, validate, steps=6, validate_every=2).run()
    assert [(row["step"], row["reward"]) for row in state.validation] == [(0, 0.5), (2, 0.9), (4, 0.7), (6, 0.9)]
    assert (state.best_step, state.best_reward) == (2, 0.9)
    assert torch.equal(flat(state.best_policy), policies[1])
    assert torch.equal(flat(state.policy), policies[3])


def test_without_an_improvement_the_base_is_the_best(project: Path, tmp_path: Path) -> None:
    rewards = iter([0.5, 0.4, 0.3])
    state = trainer(project, str(tmp_path), validate=lambda: {"reward": next(rewards)}).run()
    assert state.best_step == 0
    assert torch.equal(flat(state.best_policy), flat(tiny_model().policy.state_dict()))


def test_the_last_step_is_validated_and_saved_off_schedule(project: Path, tmp_path: Path) -> None:
    state = trainer(project, str(tmp_path), steps=5, validate_every=2, checkpoint_every=3).run()
    assert [row["step"] for row in state.validation] == [0, 2, 4, 5]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-0000003", "step-0000005"]


def test_the_anchor_holds_the_winners_error_down(project: Path, tmp_path: Path) -> None:
    plan: dict[str, Any] = {"steps": 20, "validate_every": 100, "checkpoint_every": 100}
    free, held = (trainer(project, str(tmp_path / str(a)), anchor=a, **plan).run() for a in (0.0, 100.0))
    excess = [
        sum(row["policy_winner"] / row["reference_winner"] for row in state.log[-5:]) / 5 for state in (free, held)
    ]
    assert excess[1] < min(excess[0], 1.0)


@pytest.mark.parametrize("noise_shared_by", ["group", "pair"])
def test_winners_only(project: Path, tmp_path: Path, noise_shared_by: str) -> None:
    """The control fits the winners; losers, where rows have none, are not a number rather than some other error."""
    chosen = trainer(
        project, str(tmp_path), objective="winners_only", noise_shared_by=noise_shared_by, steps=15, validate_every=100
    )
    for lr_id, group in chosen.batches.groups.items():
        alone = tuple(-1 for _ in group.winner)
        chosen.batches.groups[lr_id] = replace(group, loser=alone, weight=(1.0,) * len(alone))
    log = chosen.run().log
    assert log[0]["loss"] == pytest.approx(log[0]["policy_winner"], rel=1e-6)
    assert all(math.isnan(row["policy_loser"]) and math.isnan(row["reference_loser"]) for row in log)
    assert log[-1]["policy_winner"] < log[-1]["reference_winner"]


def test_seeds_are_different_runs(project: Path, tmp_path: Path) -> None:
    runs = [trainer(project, str(tmp_path / str(seed)), seed=seed).run() for seed in (0, 1)]
    assert not torch.equal(flat(runs[0].policy), flat(runs[1].policy))


def test_a_diverged_policy_is_not_saved(project: Path, tmp_path: Path) -> None:
    model = tiny_model()
    with torch.no_grad():
        next(model.policy.parameters()).fill_(torch.inf)
    with pytest.raises(BadInput, match=r"loss of step 1 is nan: the policy diverged; lower train\.learning_rate"):
        trainer(project, str(tmp_path), model, checkpoint_every=1).run()
    assert list(tmp_path.iterdir()) == []


def test_groups_that_cannot_be_dealt_evenly_are_refused(project: Path, tmp_path: Path) -> None:
    good = trainer(project, str(tmp_path))
    settings = good.settings.model_copy(update={"groups_per_step": 4, "micro_batch": 3})
    with pytest.raises(BadInput, match=r"groups_per_step 4 is not a multiple of train\.micro_batch 3 times 1 "):
        PairBatches(settings, good.backbone, good.batches.groups, good.batches.images, good.accelerator)


def test_only_the_policy_is_optimised(project: Path, tmp_path: Path) -> None:
    model = tiny_model()
    state = trainer(project, str(tmp_path), model).run()
    count = len(list(model.policy.parameters()))
    assert len(state.optimizer["state"]) == count
    assert isinstance(model, TinyFlow)
