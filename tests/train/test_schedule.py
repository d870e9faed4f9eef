from collections import Counter

import pytest
import torch

from components.errors import BadInput
from components.settings import TrainSettings, load_settings
from components.train import schedule
from tests.made import REPOSITORY

IDS = [f"{number:02d}" for number in range(10)]


def settings(**changes: object) -> TrainSettings:
    plain = {"t_distribution": "logit_normal"}
    return TrainSettings.model_validate(load_settings(REPOSITORY / "params.yaml").train.model_dump() | plain | changes)


@pytest.mark.parametrize("per_step", [1, 3, 4, 10, 25])
def test_every_epoch_visits_each_group_once(per_step: int) -> None:
    steps = -(-30 // per_step)
    seen = [lr_id for step in range(steps) for lr_id in schedule.groups_of_step(IDS, step, per_step, 0)]
    for epoch in range(3):
        assert sorted(seen[10 * epoch : 10 * epoch + 10]) == IDS
    assert max(Counter(seen).values()) - min(Counter(seen).values()) <= 1
    assert len(seen) == steps * per_step


def test_epochs_and_seeds_differ_in_order() -> None:
    def epoch(number: int, seed: int) -> tuple[str, ...]:
        return tuple(schedule.groups_of_step(IDS, number, 10, seed))

    assert len({epoch(number, seed) for number in range(4) for seed in range(4)}) == 16


def test_the_order_does_not_depend_on_how_it_is_cut() -> None:
    whole = [lr_id for step in range(3) for lr_id in schedule.groups_of_step(IDS, step, 8, 1)]
    assert whole == [lr_id for step in range(24) for lr_id in schedule.groups_of_step(IDS, step, 1, 1)]
    assert schedule.groups_of_step(IDS, 2, 8, 1) == whole[16:24]


def test_noise_is_a_function_of_seed_step_and_lr() -> None:
    torch.manual_seed(3)
    t, noise = schedule.draw_noise(settings(), 5, "a", (3, 8, 8), 2)
    torch.rand(11)
    again = schedule.draw_noise(settings(), 5, "a", (3, 8, 8), 2)
    assert torch.equal(t, again[0])
    assert torch.equal(noise, again[1])
    assert (t.shape, noise.shape) == ((2,), (2, 3, 8, 8))
    assert not torch.equal(noise[0], noise[1])
    others = [
        schedule.draw_noise(settings(), 6, "a", (3, 8, 8), 2),
        schedule.draw_noise(settings(), 5, "b", (3, 8, 8), 2),
        schedule.draw_noise(settings(seed=1), 5, "a", (3, 8, 8), 2),
    ]
    for other_t, other_noise in others:
        assert not torch.equal(t, other_t)
        assert not torch.equal(noise, other_noise)


@pytest.mark.parametrize("low_high", [(0.0, 1.0), (0.05, 1.0), (0.2, 0.3)])
def test_uniform_times(low_high: tuple[float, float]) -> None:
    low, high = low_high
    chosen = settings(t_distribution="uniform", t_min=low, t_max=high)
    t = schedule.draw_times(chosen, torch.Generator().manual_seed(0), 20_000)
    assert t.min() >= low
    assert t.max() <= high
    quartiles = torch.quantile(t, torch.tensor([0.25, 0.5, 0.75]))
    assert ((quartiles - low) / (high - low)).tolist() == pytest.approx([0.25, 0.5, 0.75], abs=0.015)


def test_logit_normal_times() -> None:
    """Quartiles of sigmoid(N(0, 1)): sigmoid(-.67449), .5, sigmoid(.67449) = .33749, .5, .66251; squeezed."""
    chosen = settings(t_distribution="logit_normal", t_min=0.2, t_max=0.6)
    t = schedule.draw_times(chosen, torch.Generator().manual_seed(0), 20_000)
    assert t.min() > 0.2
    assert t.max() < 0.6
    quartiles = (torch.quantile(t, torch.tensor([0.25, 0.5, 0.75])) - 0.2) / 0.4
    assert quartiles.tolist() == pytest.approx([0.33749, 0.5, 0.66251], abs=0.01)


def test_learning_rate_warms_up_linearly_and_stays() -> None:
    chosen = settings(learning_rate=8e-5, warmup_steps=4)
    assert [schedule.learning_rate(chosen, step) for step in range(6)] == pytest.approx(
        [2e-5, 4e-5, 6e-5, 8e-5, 8e-5, 8e-5]
    )
    assert schedule.learning_rate(settings(learning_rate=8e-5, warmup_steps=0), 0) == 8e-5


def test_times_of_the_sampler_are_its_own_levels_within_the_range() -> None:
    chosen = settings(t_distribution="sampler", t_min=0.5, t_max=1.0)
    levels = [1.0, 0.92, 0.8, 0.57, 0.2]
    drawn = schedule.draw_times(chosen, torch.Generator().manual_seed(0), 8000, levels)
    counts = Counter(round(value, 3) for value in drawn.tolist())
    assert set(counts) == {1.0, 0.92, 0.8, 0.57}
    # Binomial sd of a quarter of 8000: 39; four of them on each side.
    assert all(abs(count - 2000) < 160 for count in counts.values())
    with pytest.raises(BadInput, match=r"holds none of the sampler's noise levels \[0\.2\]: widen the range"):
        schedule.draw_times(chosen, torch.Generator(), 1, [0.2])


def test_a_group_twice_in_a_step_has_two_draws() -> None:
    """Three LRs in steps of four: the second epoch begins within the first step."""
    lr_ids = schedule.groups_of_step(IDS[:3], 0, 4, 0)
    again = schedule.occurrences(lr_ids)
    assert sorted(again) == [0, 0, 0, 1]
    twice = lr_ids[again.index(1)]
    first, second = (schedule.draw_noise(settings(), 0, twice, (3, 8, 8), 1, occurrence=number) for number in (0, 1))
    assert not torch.equal(first[0], second[0])
    assert not torch.equal(first[1], second[1])
    assert torch.equal(first[0], schedule.draw_noise(settings(), 0, twice, (3, 8, 8), 1)[0])
