"""Every answer, and its words."""

import pytest

from components.drift.decision import decide
from components.drift.distance import Comparison
from components.settings.drift import DriftSettings

LIMITS = DriftSettings(retrain_images=100)
SAME = Comparison("noise", "same", "PSI 0.01", 500, 40)
DRIFT = Comparison("sharpness", "drift", "the distribution has changed: PSI 2", 500, 40)
UNKNOWN = Comparison("noise", "unknown", "there is no training set to compare with", 0, 40)
FEW = Comparison("noise", "too few", "3 new pictures, 30 are needed", 500, 3)


@pytest.mark.parametrize(
    ("new", "comparisons", "retrain", "words"),
    [
        (0, [], False, "nothing is new"),
        (40, [SAME], False, "wait: 40 new pictures are fewer than 100"),
        (3, [FEW], False, "3 new pictures, 30 are needed"),
        (100, [SAME], True, "100 new pictures are 100 or more"),
        (100, [FEW], True, "100 new pictures"),
        (40, [SAME, DRIFT], True, "sharpness: the distribution has changed"),
        (40, [SAME, UNKNOWN], True, "noise cannot be compared: there is no training set"),
        (40, [], True, "nothing was compared"),
    ],
)
def test_decision(new: int, comparisons: list[Comparison], retrain: bool, words: str) -> None:
    found = decide(new, comparisons, LIMITS)
    assert found.retrain is retrain
    assert words in found.text
    assert bool(found.reasons) is retrain


def test_all_reasons_are_named() -> None:
    assert len(decide(200, [DRIFT, UNKNOWN, SAME], LIMITS).reasons) == 3
