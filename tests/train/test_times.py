"""How noise levels and pairs of a step are drawn: every way keeps the mean, whatever the step is divided into."""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor

from components.settings import TrainSettings, load_settings
from components.train import schedule
from components.train.batches.pairs import PairBatch, PairBatches
from components.train.groups import Group
from components.train.times import Place, level_at, proposed, quantiles
from tests.made import REPOSITORY, tiny_model
from tests.train.rig import double_model, trainer

SPREAD = ("stratified", "antithetic")
PAIR: dict[str, Any] = {"noise_shared_by": "pair"}


def settings(**changes: object) -> TrainSettings:
    plain = {"t_distribution": "uniform"}
    return TrainSettings.model_validate(load_settings(REPOSITORY / "params.yaml").train.model_dump() | plain | changes)


def units(chosen: TrainSettings, step: int, counts: list[int]) -> Tensor:
    """Quantiles of a step whose groups have so many draws."""
    found, first = [], 0
    for number, count in enumerate(counts):
        generator = torch.Generator().manual_seed(100 * step + number)
        found.append(quantiles(chosen, generator, step, Place(first, sum(counts)), count))
        first += count
    return torch.cat(found)


@pytest.mark.parametrize("counts", [[1] * 7, [4, 2, 1], [3]])
def test_stratified_levels_fill_each_part_once(counts: list[int]) -> None:
    chosen = settings(t_draws="stratified")
    for step in range(5):
        found = units(chosen, step, counts)
        assert sorted((found * sum(counts)).ceil().long().tolist()) == list(range(1, sum(counts) + 1))


@pytest.mark.parametrize("counts", [[1] * 8, [4, 2, 2], [3]])
def test_antithetic_levels_come_in_opposite_couples(counts: list[int]) -> None:
    found = units(settings(t_draws="antithetic"), 3, counts)
    assert found.min() > 0.0
    assert found.max() <= 1.0
    couples = len(found) // 2 * 2
    assert torch.allclose(found[0:couples:2] + found[1:couples:2], torch.ones(couples // 2, dtype=torch.float64))
    assert len(set(found.tolist())) == len(found)


@pytest.mark.parametrize("draws", ["independent", *SPREAD])
@pytest.mark.parametrize("number", [0, 3])
def test_a_single_draw_is_uniform_over_steps(draws: str, number: int) -> None:
    """4000 draws: the standard error of a quarter's share is .0068."""
    chosen = settings(t_draws=draws)
    found = torch.stack([units(chosen, step, [1] * 6)[number] for step in range(4000)])
    shares = torch.histc(found.float(), 4, 0.0, 1.0) / 4000
    assert shares.tolist() == pytest.approx([0.25] * 4, abs=0.028)


@pytest.mark.parametrize("proposal", [(1.0,), (1.0, 3.0), (0.1, 5.0, 1.0, 0.02)])
@pytest.mark.parametrize("function", [lambda u: u**2, lambda u: (u > 0.7).double(), lambda u: torch.sin(9.0 * u)])
def test_the_weighted_mean_is_the_plain_one(proposal: tuple[float, ...], function: Callable[[Tensor], Tensor]) -> None:
    even = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    drawn, weight = proposed(even, proposal)
    assert float((weight * function(drawn)).mean()) == pytest.approx(float(function(even).mean()), abs=2e-4)
    counts = torch.bincount((drawn * len(proposal)).ceil().long() - 1).double() / len(even)
    assert counts.tolist() == pytest.approx([share / sum(proposal) for share in proposal], abs=1e-5)


def test_levels_at_quantiles() -> None:
    """Quartiles of sigmoid(N(0, 1)) are .33749, .5, .66251."""
    at = torch.tensor([0.25, 0.5, 0.75, 1.0], dtype=torch.float64)
    none = torch.empty(0)
    normal = level_at(settings(t_distribution="logit_normal"), at, none)
    assert normal[:3].tolist() == pytest.approx([0.33749, 0.5, 0.66251], abs=1e-5)
    assert math.isfinite(float(normal[3]))
    uniform = level_at(settings(t_min=0.2, t_max=0.6), at, none)
    assert uniform.tolist() == pytest.approx([0.3, 0.4, 0.5, 0.6])
    levels = torch.tensor([1.0, 0.8, 0.3, 0.1])
    assert torch.equal(level_at(settings(t_distribution="sampler"), at, levels), levels)


def group(pairs: list[tuple[int, int]]) -> Group:
    winners, losers = zip(*pairs, strict=True)
    ones = (1.0,) * len(pairs)
    return Group("a", tuple(range(8)), winners, losers, ones, ones)


SQUARE = [(winner, loser) for winner in range(4) for loser in range(4, 8)]
OBLONG = [(winner, loser) for winner in range(2) for loser in range(2, 8)]
ODD = [(0, 4), (0, 5), (1, 5), (2, 6), (3, 7), (0, 7)]


@pytest.mark.parametrize(("pairs", "wanted"), [(SQUARE, 4), (SQUARE, 5), (OBLONG, 3), (ODD, 2)])
def test_each_pair_is_taken_as_often(pairs: list[tuple[int, int]], wanted: int) -> None:
    """3000 steps: four standard errors of a share of k/P."""
    chosen, one = settings(**PAIR, pairs_per_group=wanted), group(pairs)
    taken = [schedule.pairs_of_step(chosen, step, one) for step in range(3000)]
    assert all(len(set(numbers)) == wanted for numbers in taken)
    counts = Counter(number for numbers in taken for number in numbers)
    share = wanted / len(pairs)
    allowed = 4 * math.sqrt(share * (1 - share) / 3000)
    assert [counts[number] / 3000 for number in range(len(pairs))] == pytest.approx([share] * len(pairs), abs=allowed)


def test_candidates_are_spread_over_the_pairs_that_are_taken() -> None:
    chosen = settings(**PAIR, pairs_per_group=4)
    for step in range(20):
        numbers = schedule.pairs_of_step(chosen, step, group(SQUARE))
        assert len({position for number in numbers for position in SQUARE[number]}) == 8


def test_all_pairs_are_taken_where_none_or_more_are_asked_for() -> None:
    for wanted in (0, 6, 7):
        assert schedule.pairs_of_step(settings(**PAIR, pairs_per_group=wanted), 0, group(ODD)) == list(range(6))


def test_antithetic_noise_comes_in_couples_of_one_level() -> None:
    drawn = schedule.draw(settings(**PAIR, noise_draws="antithetic"), 0, "a", (3, 4, 4), 5)
    assert torch.equal(drawn.noise[0:4:2], -drawn.noise[1:4:2])
    assert torch.equal(drawn.t[0:4:2], drawn.t[1:4:2])
    assert len(set(drawn.t.tolist())) == 3
    assert not torch.equal(drawn.noise[0], drawn.noise[2])


@dataclass
class OneOf:
    """What batches ask of an accelerator, as one of several processes."""

    process_index: int
    num_processes: int
    inner: Accelerator = field(default_factory=lambda: Accelerator(cpu=True))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


WAYS: list[dict[str, Any]] = [
    {"t_draws": "stratified"},
    {"t_draws": "antithetic", "t_proposal": [1.0, 2.0]},
    PAIR | {"pairs_per_group": 2, "t_draws": "stratified", "noise_draws": "antithetic"},
    PAIR | {"pairs_per_group": 3, "t_proposal": [1.0, 0.3, 2.0], "t_draws": "antithetic"},
]


def gradient(batches: PairBatches, step: int) -> Tensor:
    model = double_model()
    model.policy.zero_grad()
    for batch in batches.of_step(step):
        batches.loss(model, batch).loss.backward()
    return torch.cat([cast(Tensor, one.grad).flatten() for one in model.policy.parameters()])


@pytest.mark.parametrize("way", WAYS)
def test_a_step_is_the_same_however_it_is_divided(project: Path, tmp_path: Path, way: dict[str, Any]) -> None:
    model = double_model()

    def made(micro: int, rank: int = 0, world: int = 1) -> PairBatches:
        batches = trainer(project, str(tmp_path), model, micro_batch=micro, beta=50.0, **way).batches
        batches.accelerator = cast(Accelerator, OneOf(rank, world))
        return batches

    whole = gradient(made(4), 1)
    assert float(whole.norm()) > 0.0
    assert torch.allclose(gradient(made(1), 1), whole, rtol=1e-9, atol=1e-12)
    both = gradient(made(1, 0, 2), 1) + gradient(made(2, 1, 2), 1)
    assert torch.allclose(both, whole, rtol=1e-9, atol=1e-12)
    assert not torch.allclose(gradient(made(4), 2), whole, rtol=1e-3)


def test_losses_are_weighted_for_how_they_were_drawn(project: Path, tmp_path: Path) -> None:
    """Before the first step each loss is ln 2 times the pair's weight."""
    model = tiny_model()
    way = PAIR | {"pairs_per_group": 1, "t_proposal": [1.0, 4.0]}
    batches = trainer(project, str(tmp_path), model, **way).batches
    (first, *_) = batches.of_step(0)
    assert isinstance(first, PairBatch)
    expected = torch.zeros(())
    for one, occurrence, place in first.groups:
        drawn = batches.drawn(model, 0, one, occurrence, place)
        assert drawn.weight is not None
        assert float(drawn.weight[0]) in (pytest.approx(2.5), pytest.approx(0.625))
        expected += math.log(2.0) * (drawn.weight * drawn.pairs.weight).sum() * len(one.winner)
    assert float(batches.loss(model, first).loss) == pytest.approx(float(expected) / first.total_pairs, rel=1e-5)


def test_what_is_measured_is_drawn_plainly(project: Path, tmp_path: Path) -> None:
    """Negative steps, of the share of held-out pairs, know no other way."""
    model = tiny_model()
    drawn = []
    for way in (
        {},
        {"t_draws": "stratified", "t_proposal": [1.0, 9.0], "noise_draws": "antithetic", "pairs_per_group": 1},
    ):
        batches = trainer(project, str(tmp_path), model, **PAIR, **way).batches
        drawn.append(batches.drawn(model, -1, next(iter(batches.groups.values()))))
    assert torch.equal(drawn[0].t, drawn[1].t)
    assert torch.equal(drawn[0].noise, drawn[1].noise)
    assert drawn[1].weight is None


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"pairs_per_group": 2}, "set noise_shared_by to pair"),
        ({"noise_draws": "antithetic"}, "set noise_shared_by to pair"),
        (PAIR | {"noise": "own", "noise_draws": "antithetic"}, "draws no noise"),
        ({"t_proposal": [1.0, 0.0]}, "greater than 0"),
    ],
)
def test_what_cannot_be_drawn_is_refused(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        settings(**changes)
