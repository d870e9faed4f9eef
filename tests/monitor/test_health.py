"""Every check says no where it should, and nothing is healthy by default."""

from collections.abc import Sequence

import pytest

from components.monitor.health import Health, Values, judge
from components.settings.gate import GateSettings
from components.settings.monitor import MonitorSettings

LIMITS, GATE = MonitorSettings(min_pairs=10), GateSettings()
EVALUATED = {"rank_nss": [0.0, 2.0] * 20, "niqe": [4.0, 6.0] * 20}  # means 1 and 5, deviations 1
GOOD: dict[str, Sequence[float]] = {
    "rank_nss": [1.0] * 20,
    "niqe": [5.0] * 20,
    "lr_consistency": [30.0] * 20,
    "colour_shift": [1.0] * 20,
    "grid": [8.0] * 20,
    "border": [1.0] * 20,
    "clipping": [1.0] * 20,
}


def health(found: Values = GOOD, evaluated: Values = EVALUATED, pairs: int = 20, broken: Sequence[str] = ()) -> Health:
    return judge("m/1", pairs, broken, found, evaluated, {"rank_nss": True, "niqe": False}, LIMITS, GATE)


def no(result: Health) -> set[str]:
    return {row.name for row in result.rows if row.verdict == "no"}


def test_healthy() -> None:
    assert health().healthy
    assert health().text == "m/1 is healthy: 9 checks"


@pytest.mark.parametrize(
    ("change", "row"),
    [
        ({"rank_nss": [0.49] * 20}, "rank_nss"),
        ({"niqe": [5.51] * 20}, "niqe"),
        ({"lr_consistency": [19.9] * 20}, "lr_consistency"),
        ({"colour_shift": [1.0] * 18 + [9.0] * 2}, "guard colour_shift"),
        ({"grid": [20.0] * 20}, "guard grid"),
        ({"rank_nss": [1.0] * 19 + [float("nan")]}, "rank_nss"),
        ({"rank_nss": []}, "rank_nss"),
        ({"border": [float("nan")] * 20}, "guard border"),
        ({"clipping": []}, "guard clipping"),
    ],
)
def test_each_fault_has_its_row(change: dict[str, Sequence[float]], row: str) -> None:
    found = health({**GOOD, **change})
    assert no(found) == {row}
    assert row in found.text


def test_within_the_limits_is_healthy_and_better_is_never_a_fault() -> None:
    assert health({**GOOD, "rank_nss": [0.51] * 20, "niqe": [5.49] * 20}).healthy
    assert health({**GOOD, "rank_nss": [9.0] * 20, "niqe": [1.0] * 20}).healthy


def test_no_record_of_the_promotion_is_no_health() -> None:
    assert no(health(evaluated={})) == {"rank_nss", "niqe"}
    assert no(health(evaluated={"rank_nss": [1.0] * 9, "niqe": [4.0, 6.0]})) == {"rank_nss"}  # a constant tells nothing


def test_too_few_or_broken_pairs() -> None:
    assert no(health(pairs=9)) == {"pairs"}
    assert no(health(pairs=21, broken=["x: no .sr.png beside it"] * 2)) == {"usable"}
    assert {"pairs", "usable"} <= no(health({}, pairs=0))
    assert not Health("m/1", ()).healthy
