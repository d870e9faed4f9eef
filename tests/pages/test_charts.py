import json
import re

import pytest

from components.pages.charts import Chart, ForestScale, Series, differences, fixed, short, ticks


def chart(points: list[tuple[float, float]], **more: object) -> Chart:
    return Chart("Loss", "what to look for", "step", [Series("loss", "aligned", points)], **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("low", "high", "count", "expected"),
    [
        (0.0, 10.0, 5, [0, 2, 4, 6, 8, 10]),
        (0.13, 0.61, 5, [0.2, 0.3, 0.4, 0.5, 0.6]),
        (-1.0, 1.0, 4, [-1, -0.5, 0, 0.5, 1]),
        (5.0, 5.0, 5, [5]),
    ],
)
def test_ticks_are_round_and_inside(low: float, high: float, count: int, expected: list[float]) -> None:
    assert ticks(low, high, count) == pytest.approx(expected)


def test_numbers_for_people() -> None:
    assert (short(0.00002), short(-1.23456), short(70.0)) == ("2e−5", "−1.235", "70")
    assert (fixed(0.5), fixed(2.5), fixed(25.0), fixed(-0.5, signed=True)) == ("0.5000", "2.500", "25.00", "−0.5000")
    assert fixed(0.02, like=24.0) == "0.02"
    assert differences(-0.0156, -0.0225, -0.0098) == ["−0.0156", "−0.0225", "−0.0098"]
    assert differences(1.5, 0.0, 3.0) == ["+1.50", "+0.00", "+3.00"]
    assert differences(0.0) == ["+0.00"]


def test_a_line_spans_the_frame_and_rises_upwards() -> None:
    svg = str(chart([(0, 1.0), (1, 2.0), (2, 4.0)]).svg)
    points = re.search(r'class="line aligned" points="([^"]+)"', svg)
    assert points
    xs, ys = zip(*(map(float, pair.split(",")) for pair in points[1].split()), strict=True)
    assert xs == (52.0, 229.0, 406.0)  # left margin, middle, width less the right margin
    assert ys[0] > ys[1] > ys[2], "larger values are higher up"
    assert (ys[0] - ys[1]) * 2 == pytest.approx(ys[1] - ys[2], abs=0.2)


def test_log_axis_spaces_powers_of_two_evenly() -> None:
    points = json.loads(chart([(1, 0.0), (2, 0.1), (4, 0.2), (16, 0.3)], log_x=True).points_json)["lines"][0]["points"]
    xs = [point[0] for point in points]
    assert [round((x - xs[0]) / (xs[-1] - xs[0]), 2) for x in xs] == [0.0, 0.25, 0.5, 1.0]


def test_many_points_are_smoothed_over_the_raw_line_and_few_are_not() -> None:
    noisy = [(float(step), float(step % 2)) for step in range(100)]
    svg = str(Chart("t", "n", "x", [Series("s", "base", noisy, smooth=True)]).svg)
    assert svg.count("<polyline") == 2
    drawn = Chart("t", "n", "x", [Series("s", "base", noisy, smooth=True)]).drawn[0]
    assert drawn.points[50] == (
        50.0,
        pytest.approx(6 / 11),
    )  # of the steps 45..55, the six odd ones are 1
    assert str(chart([(0.0, 1.0), (1.0, 2.0)]).svg).count("<polyline") == 1


def test_a_constant_line_and_text_with_markup_are_drawn() -> None:
    svg = str(chart([(0, 1.0), (1, 1.0)], baseline=(1.0, "<base>"), mark=(1, "best & last")).svg)
    assert "&lt;base&gt;" in svg
    assert "best &amp; last" in svg
    assert "nan" not in svg


def test_a_chart_without_points_is_refused() -> None:
    with pytest.raises(ValueError, match="'Loss' has no points"):
        _ = chart([]).svg


def test_forest_scale_is_symmetric_and_holds_every_interval() -> None:
    scale = ForestScale.around([(-0.02, 0.13), (0.01, 0.05)])
    assert scale.reach == pytest.approx(0.15)
    assert scale.x(0.0) == scale.WIDTH / 2
    assert scale.x(0.1) - scale.x(0.0) == pytest.approx(scale.x(0.0) - scale.x(-0.1))
    assert 0 < scale.x(-0.15) < scale.x(0.15) < scale.WIDTH
    assert ForestScale.around([(0.0, 0.0)]).reach == 1.0
