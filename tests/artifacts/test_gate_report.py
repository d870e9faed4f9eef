"""The gate's report: one model, one reader."""

import json
import math

import pytest
from mlflow.entities.model_registry import ModelVersion

from components.artifacts.gate_report import Check, GateReport, passed, read_report
from components.errors import BadInput
from components.registry.versions import GATE_TAG, gate_report

CHECKS = (
    Check(name="reward gain", value=0.02, threshold=0.0, verdict="yes", reason="above"),
    Check(name="benchmark set, champion", value="abc", threshold="abd", verdict="no", reason="another set"),
)
REPORT = GateReport(
    challenger="sr-dev/2",
    champion="sr/1",
    benchmark="v1-0123456789ab",
    passed=False,
    question="q",
    judged_ms=5,
    checks=CHECKS,
)


def version_with(tags: dict[str, str]) -> ModelVersion:
    made = ModelVersion("sr-dev", "2", 0)
    made._tags = tags
    return made


def test_what_is_written_is_what_is_read() -> None:
    assert read_report(REPORT.as_text(), "here") == REPORT
    assert json.loads(REPORT.as_text()) == REPORT.model_dump(mode="json")
    assert list(REPORT.model_dump()) == ["challenger", "champion", "benchmark", "passed", "question", "judged_ms",
                                         "checks"]  # fmt: skip


def test_what_is_not_finite_has_no_value() -> None:
    for odd in (math.nan, math.inf):
        check = Check(name="latency", value=odd, threshold=1.5, verdict="no", reason="could not be measured")
        assert check.value is None
        json.dumps(check.model_dump(mode="json"), allow_nan=False)


def test_no_checks_are_no_pass() -> None:
    assert not passed([])
    assert passed(CHECKS[:1])
    assert not passed(CHECKS)
    assert [check.name for check in REPORT.refusals] == ["benchmark set, champion"]


def test_a_version_of_another_gate_counts_as_not_judged() -> None:
    earlier = REPORT.model_dump(mode="json")
    del earlier["question"]
    assert gate_report(version_with({GATE_TAG: json.dumps(earlier)})) is None
    assert gate_report(version_with({})) is None
    assert gate_report(version_with({GATE_TAG: REPORT.as_text()})) == REPORT


@pytest.mark.parametrize("text", ["{", "[]", "passed"])
def test_a_tag_that_is_no_report_is_refused_with_the_way_out(text: str) -> None:
    with pytest.raises(BadInput, match=r"tag dp2o\.gate of sr-dev/2 is no report .* delete the tag"):
        gate_report(version_with({GATE_TAG: text}))


def test_two_reports_are_of_one_measurement_or_not() -> None:
    assert REPORT.same_measurement_as(REPORT.model_copy(update={"benchmark": "renamed"}))
    assert not REPORT.same_measurement_as(REPORT.model_copy(update={"judged_ms": 6}))
    assert not REPORT.same_measurement_as(None)
