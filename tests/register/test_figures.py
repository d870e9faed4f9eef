import pytest

from components.register.figures import curves, evaluation_metrics, flatten, metric_name
from tests.evaluations import LR_ONLY, evaluation


def test_forbidden_characters_are_spelt_out() -> None:
    assert metric_name("clipiqa+") == "clipiqa_plus"
    assert metric_name("a(b)") == "a_b_"
    assert metric_name("stlpips-vgg/ci_low") == "stlpips-vgg/ci_low"


def test_flatten_joins_keys() -> None:
    assert flatten({"a": {"b": 1, "c": {"d": [2]}}, "e": None}, ".") == {"a.b": 1, "a.c.d": [2], "e": None}


def test_only_numbers_are_metrics() -> None:
    found = evaluation_metrics(evaluation(without_hr=LR_ONLY))
    assert found["evaluation/images"] == 10.0
    assert found["evaluation/metrics/psnr/base"] == 24.0
    assert found["evaluation/without_hr/images"] == 3.0
    assert not [name for name in found if name.endswith(("headline", "in_reward", "verdict", "has_hr"))]


def test_curves_leave_out_empty_and_not_finite_cells() -> None:
    points = curves("step,loss,reward\n1,0.5,\n3,nan,0.25\n", "training", 1000)
    assert [(point.key, point.value, point.step, point.timestamp) for point in points] == [
        ("training/loss", 0.5, 1, 1000),
        ("training/reward", 0.25, 3, 1000),
    ]


@pytest.mark.parametrize("text", ["epoch,loss\n1,2\n", "step,loss\n1,much\n"])
def test_what_is_no_curve_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"step|much"):
        curves(text, "training", 0)
