"""Which close-ups are shown, where they are cut, and that no pixel is another's mixture."""

import io

import numpy as np
import pytest
from PIL import Image

from components.report.closeups import SIDE, ZOOM, Closeup, cases, cut, gains_of, mean_over, square
from components.report.pictures import heat
from components.report.plots import plots
from tests.evaluations import evaluation


def test_the_rule_takes_gain_median_loss_and_contradiction() -> None:
    gains = {"a": 0.5, "b": -0.2, "c": 0.1, "d": 0.4, "e": 0.0}
    judged = {"a": 0.5, "b": -0.1, "c": 0.2, "d": -0.9}
    found = {case.lr_id: case.why for case in cases(gains, judged)}
    assert found == {
        "a": "largest gain",
        "c": "median",
        "b": "largest loss",
        "d": "judges contradict the reward most",
    }
    assert [case.why for case in cases({"a": 0.5, "b": 0.2}, {"b": -1.0})] == [
        "largest gain",
        "median, smallest gain, judges contradict the reward most",
    ]
    assert "d" not in {case.lr_id for case in cases(gains, {})}


def test_gains_are_means_over_seeds_in_units_turned_so_that_higher_is_better() -> None:
    def row(lr_id: str, model: str, value: float | None) -> dict[str, object]:
        return {"lr_id": lr_id, "model": model, "niqe": value}

    rows = [row("a", "base", 4.0), row("a", "base", 6.0), row("a", "aligned", 3.0), row("a", "aligned", 5.0)]
    rows += [row("b", "base", None), row("b", "aligned", 1.0), row("a", "bicubic", 99.0)]
    assert gains_of(rows, "niqe", -2.0) == {"a": 0.5}
    assert gains_of(rows, "niqe", 0.0) == {}
    assert mean_over([{"a": 1.0, "b": 2.0}, {"a": 3.0}]) == {"a": 2.0, "b": 2.0}


@pytest.mark.parametrize("scale", [1, 2, 4, 3])
def test_the_square_is_where_the_pictures_differ_and_holds_whole_pixels_of_the_lr(scale: int) -> None:
    base = np.full((120, 180, 3), 90, np.uint8)
    aligned = base.copy()
    aligned[70:75, 130:135] = 200
    x, y, side = square(base, aligned, scale)
    assert x <= 130
    assert y <= 70
    assert x + side >= 135
    assert y + side >= 75
    assert side == SIDE // scale * scale
    assert x % scale == y % scale == 0
    small = square(base[:20, :20], aligned[:20, :20], scale)
    assert small[2] == 20 // scale * scale


def test_squares_of_lr_and_restoration_are_of_one_size_and_only_repeat_pixels() -> None:
    generator = np.random.default_rng(0)
    lr = generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    restored = generator.integers(0, 256, (128, 128, 3), dtype=np.uint8)
    place = (40, 60, 48)
    shown, of_lr = cut(restored, place), cut(lr, place, 4)
    assert shown.shape == of_lr.shape == (48 * ZOOM, 48 * ZOOM, 3)
    np.testing.assert_array_equal(shown[::ZOOM, ::ZOOM], restored[60:108, 40:88])
    np.testing.assert_array_equal(of_lr[:: 4 * ZOOM, :: 4 * ZOOM], lr[15:27, 10:22])
    np.testing.assert_array_equal(shown, shown[::ZOOM, ::ZOOM].repeat(ZOOM, 0).repeat(ZOOM, 1))


def test_false_colours_rise_from_black_to_white() -> None:
    levels = np.repeat(np.array([[0, 20, 40, 80]], np.uint8)[..., None], 3, axis=2)
    colours = heat(levels, 40).astype(int).sum(axis=2)[0]
    assert colours[0] < 10 < colours[1] < colours[2] == colours[3]
    assert heat(levels * 0, 0).max() < 10


def test_plots_are_the_same_bytes_twice_and_open_as_what_they_say() -> None:
    curve = {"step": [0.0, 1.0, 2.0], "loss": [0.7, 0.6, 0.5], "reward": [0.4, 0.5, 0.45]}
    close = [Closeup("median", "a.png", "", (0, 0), {"base": np.zeros((8, 8, 3), np.uint8)})]
    first, second = (plots(evaluation(), curve, curve, close) for _ in range(2))
    assert first == second
    names = {"gain", "best_mean_worst", "validation", "training", "closeups"}
    assert set(first) == {f"{name}.{kind}" for name in names for kind in ("svg", "png")}
    for name, content in first.items():
        if name.endswith("png"):
            assert Image.open(io.BytesIO(content)).width > 200
        else:
            assert content.startswith(b"<?xml")
            assert b"<dc:date>" not in content
