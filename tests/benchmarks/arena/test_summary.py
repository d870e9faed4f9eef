import math

import numpy as np
import pytest

from benchmarks.arena.collect import best
from benchmarks.arena.judge import at_quantiles
from benchmarks.arena.results import Difference, Entry, Passes, Seconds
from benchmarks.arena.summary import WIN, Comparisons, Table, averaged, broken
from benchmarks.arena.work import best_factor
from components.artifacts.tables import Row
from components.judge.bootstrap import ClusterBootstrap
from components.settings.gate import GateSettings

PHOTOS = 12


def rows(name: str, seed: int | None, lead: float, psnr: float | None = 20.0) -> list[Row]:
    generator = np.random.default_rng([0 if seed is None else seed + 1, len(name)])
    return [
        {
            "composition": name,
            "seed": seed,
            "lr_id": f"lr{photo}",
            "photo": f"p{photo}",
            "index": index,
            "reward": photo / PHOTOS + lead + (0.0 if seed is None else float(generator.normal(0, 1e-3))),
            "psnr": psnr,
        }
        for photo in range(PHOTOS)
        for index in (0, 1)
    ]


def comparisons(*listed: list[Row]) -> Comparisons:
    table = Table.of([row for some in listed for row in some], ["reward", "psnr"])
    return Comparisons(table, ClusterBootstrap(table.photos, 200, 0.95, 0), 0.95)


def test_restorations_that_one_training_lacks_are_left_out_of_all() -> None:
    lacking = rows("a", 1, 0.1)[1:]
    table = comparisons(rows("base", None, 0.0), rows("a", 0, 0.1), lacking).table
    assert len(table.photos) == 2 * PHOTOS - 1
    assert {len(one["reward"]) for one in table.trainings["a"].values()} == {2 * PHOTOS - 1}


def test_a_metric_that_a_training_has_no_value_of_is_in_no_figure() -> None:
    found = comparisons(rows("base", None, 0.0), rows("a", 0, 0.1, psnr=None))
    assert "psnr" not in found.table.means("a")
    assert found.from_base("a", "psnr") is None


def test_compositions_pair_by_the_seeds_that_both_have() -> None:
    found = comparisons(
        rows("base", None, 0.0),
        *(rows("aa", seed, 0.03) for seed in (0, 1, 2)),
        *(rows("bb", seed, 0.01) for seed in (1, 2, 3)),
    )
    one = found.between("aa", "bb")
    assert one is not None
    assert one.mean == pytest.approx(0.02, abs=1e-9)  # both have the same draws, so that nothing else is left
    assert found.table.means("aa")[WIN] == 1.0


def test_the_matrix_shows_each_pair_from_both_sides_with_one_p() -> None:
    found = comparisons(rows("base", None, 0.0), *(rows(name, s, 0.01) for name in ("a", "bb", "ccc") for s in (0, 1)))
    matrix = found.matrix(["a", "bb", "ccc"])
    assert {name: set(row) for name, row in matrix.items()} == {
        "a": {"bb", "ccc"}, "bb": {"a", "ccc"}, "ccc": {"a", "bb"},
    }  # fmt: skip
    one, other = matrix["a"]["bb"], matrix["bb"]["a"]
    assert (one.mean, one.ci_low, one.ci_high) == (-other.mean, -other.ci_high, -other.ci_low)
    assert one.p_adjusted == other.p_adjusted >= one.p


def test_limits_are_the_gates() -> None:
    gate = GateSettings()
    base = {"psnr": 21.0, "ssim": 0.5, "grid": 5.0, "colour_shift": 1.0}
    assert broken(base, base, gate) == []
    assert broken(base | {"psnr": 21.0 - gate.fidelity["psnr"].drop - 0.01}, base, gate) == ["psnr"]
    assert broken(base | {"grid": 5.0 + gate.guards["grid"].rise + 0.01}, base, gate) == ["grid"]
    assert broken(base | {"psnr": 30.0, "grid": 0.0}, base, gate) == []


def test_a_curve_is_the_mean_over_trainings_over_passes() -> None:
    first = [{"step": 0.0, "reward": 0.5}, {"step": 5.0, "reward": 0.6}, {"step": 10.0, "reward": 0.4}]
    second = [{"step": 0.0, "reward": 0.5}, {"step": 5.0, "reward": 0.8}, {"step": 10.0, "reward": 0.6}]
    found = averaged([first, second], 100, 1000.0)
    assert [(point.passes, point.low, point.high) for point in found] == [
        (100, 0.5, 0.5),
        (600, 0.6, 0.8),
        (1100, 0.4, 0.6),
    ]
    assert [point.reward for point in found] == pytest.approx([0.5, 0.7, 0.5])


def entry(mean: float, low: float, seeds: list[int] | None = None, **changes: object) -> Entry:
    one = Difference(
        mean=mean, ci_low=low, ci_high=2 * mean - low, p=0.01, p_adjusted=0.01, detectable=0.01, bound=0.1,
        significant=True,
    )  # fmt: skip
    values = {
        "table": "methods", "about": "", "settings": "{}", "learning_rate": 1e-4, "tries": {}, "tries_diverged": [],
        "seeds": [0, 1] if seeds is None else seeds, "diverged": {},
        "passes": Passes(rollouts=1, judge=1, training=1), "steps": [1, 1],
        "seconds": Seconds(training=1, judging=1), "figures": {}, "differences": {"reward": one}, "each_seed": {},
        "win_rate": one, "over_standard": None, "curve": [], "broken": [],
    }  # fmt: skip
    return Entry.model_validate(values | changes)


def test_the_best_has_most_reward_of_those_that_break_no_limit_ended_all_and_lead_the_base() -> None:
    entries = {
        "beyond": entry(0.9, 0.8, broken=["psnr"]),
        "astray": entry(0.8, 0.7, diverged={"1": "the loss is inf"}),
        "early": entry(0.7, 0.6, seeds=[0]),
        "first": entry(0.3, 0.1),
        "second": entry(0.2, 0.1),
    }
    assert best(entries, [1, 0]) == "first"
    assert best(entries | {"first": entry(0.3, -0.1)}, [0, 1]) is None
    assert best({}, [0]) is None


def test_a_learning_rate_that_diverged_loses_and_of_equals_the_least_is_taken() -> None:
    assert best_factor({0.5: 0.61, 1.0: 0.64, 2.0: None}) == 1.0
    assert best_factor({2.0: 0.64, 1.0: 0.64}) == 1.0
    assert best_factor({2.0: None, 1.0: None}) == 1.0


def test_pictures_are_chosen_by_the_base_alone() -> None:
    rewards = {f"lr{number:02d}": math.sin(number) for number in range(21)}
    order = sorted(rewards, key=lambda name: rewards[name])
    assert at_quantiles(rewards) == [order[2], order[10], order[18]]
    assert at_quantiles({"a": 0.0}) == ["a"]
