"""The arithmetic of a comparison, with laps made up by hand."""

import pytest

from benchmarks.timing import Contender, Lap, Ratio, compare, interleaved


def test_contenders_take_turns_after_a_lap_that_does_not_count() -> None:
    order: list[str] = []
    contenders = [Contender(name, 1, lambda name=name: order.append(name)) for name in ("a", "b")]
    laps = interleaved(contenders, rounds=2)
    assert order == ["a", "b"] * 3
    assert {name: len(of_name) for name, of_name in laps.items()} == {"a": 2, "b": 2}


def test_rates_and_ratio_count_units_of_work() -> None:
    ours, peer = Contender("ours", 64, print), Contender("peer", 8, print)
    laps = {
        "ours": [Lap(1.0, 1.0), Lap(2.0, 1.0), Lap(4.0, 1.0)],
        "peer": [Lap(1.0, 0.5), Lap(4.0, 1.0), Lap(4.0, 0.25)],
    }
    result = compare("training", "pairs/s", laps, ours, peer, target=6.0)
    assert (result.ours, result.peer) == (32.0, 2.0)
    assert result.wall == Ratio(8.0, 8.0, 16.0)
    assert result.cpu == Ratio(4.0, 2.0, 8.0)
    assert str(result.wall) == "8.00 (8.00 .. 16.00)"
    assert result.to_json()["wall"] == pytest.approx({"median": 8.0, "low": 8.0, "high": 16.0})
