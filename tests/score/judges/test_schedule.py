"""Balanced, sparse, connected and seeded, for every size that occurs."""

from collections import Counter

import numpy as np
import pytest

from components.score.judges.schedule import schedule
from components.settings import UnifiedRewardFlexSettings, UnifiedRewardSettings, VisualQualityR1Settings


@pytest.mark.parametrize("candidates", [2, 3, 4, 5, 6, 7, 8, 9, 16, 31, 32, 64])
def test_each_meets_as_many_others(candidates: int) -> None:
    for opponents in range(1, candidates + 2):
        met = schedule("lr", candidates, opponents, 0)
        degree = min(opponents, candidates - 1)
        assert len(set(met)) == len(met) == candidates * degree // 2
        assert all(0 <= one < other < candidates for one, other in met)
        counts = Counter(position for pair in met for position in pair)
        fewer = [position for position in range(candidates) if counts[position] == degree - 1]
        assert len(fewer) == (candidates % 2 and degree % 2)
        assert all(counts[position] == degree for position in range(candidates) if position not in fewer)


def test_all_are_connected() -> None:
    for candidates, opponents in ((8, 2), (9, 3), (32, 4), (31, 2)):
        reached = {0}
        met = schedule("lr", candidates, opponents, 3)
        for _ in range(candidates):
            reached |= {other for pair in met for other in pair if reached & set(pair)}
        assert len(reached) == candidates


def test_the_draw_is_a_function_of_lr_and_seed() -> None:
    assert schedule("a", 16, 4, 0) == schedule("a", 16, 4, 0)
    others = [schedule(lr_id, 16, 4, seed) for lr_id, seed in (("a", 0), ("b", 0), ("a", 1))]
    assert len({tuple(met) for met in others}) == 3
    met = np.zeros((16, 16))
    for number in range(400):
        for one, other in schedule(f"{number}", 16, 4, 0):
            met[one, other] += 1
    found = met[np.triu_indices(16, 1)]
    # Each of 120 pairs is drawn with probability 4/15: 107 of 400, standard deviation 9.
    assert abs(found.mean() - 400 * 4 / 15) < 1e-9
    assert found.min() > 65
    assert found.max() < 150


@pytest.mark.parametrize("candidates", [2, 5, 8, 32])
@pytest.mark.parametrize("opponents", [1, 3, 4, 64])
def test_the_plan_counts_what_is_scheduled(candidates: int, opponents: int) -> None:
    flex = UnifiedRewardFlexSettings(model="m", opponents=opponents)
    met = len(schedule("lr", candidates, opponents, 0))
    assert flex.calls(candidates) == 2 * met
    one_by_one = UnifiedRewardSettings(model="m", opponents=opponents, dimensions={"realism": "…"})
    assert one_by_one.calls(candidates) == 2 * 2 * met
    assert VisualQualityR1Settings(model="m").calls(candidates) == candidates
