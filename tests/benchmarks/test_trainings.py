"""Figures of several trainings: differences are those of known values, and seeds widen the intervals."""

import numpy as np

from benchmarks.trainings import BASE, PEER, compare, show

PHOTOS = [f"photo {number}" for number in range(12)]


def scores(gains: list[float]) -> dict[str, dict[str, np.ndarray]]:  # type: ignore[type-arg]
    generator = np.random.default_rng(0)
    base = generator.normal(size=12)
    found = {PEER: {"psnr": base - 1.0}, BASE: {"psnr": base}}
    for number, gain in enumerate(gains):
        found[f"aligned {number}"] = {"psnr": base + gain + 0.01 * generator.normal(size=12)}
    return found


def test_differences_are_those_of_the_values() -> None:
    row = compare(scores([0.2, 0.2, 0.2]), PHOTOS)["psnr"]
    assert abs(row["minus base"]["mean"] - 0.2) < 0.01
    assert abs(row["minus x4plus"]["mean"] - 1.2) < 0.01
    assert row["minus base"]["low"] > 0.15
    assert np.allclose(np.array(row["each"]) - row["base"], 0.2, atol=0.01)


def test_trainings_that_disagree_make_the_interval_wide() -> None:
    agree, differ = (compare(scores(gains), PHOTOS)["psnr"]["minus base"] for gains in ([0.2] * 3, [-0.3, 0.2, 0.7]))
    assert differ["high"] - differ["low"] > 5 * (agree["high"] - agree["low"])
    assert differ["low"] < 0.0
    assert "+0.2" in show({"bicubic": compare(scores([0.2] * 3), PHOTOS)})
