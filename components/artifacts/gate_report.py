"""The gate's report: reports/gate.json, and the same in the tag `dp2o.gate` of the version that was judged."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from components.errors import BadInput


class Check(BaseModel):
    """One row of the report.

    Attributes:
        name: for example `reward gain`, `guard grid rise`.
        value: what is compared with the threshold; None where there is no number, or none that is finite.
        threshold: in the unit of `value`.
        verdict: `no` refuses the whole.
        reason: one line for people.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    value: float | str | None
    threshold: float | str
    verdict: Literal["yes", "no"]
    reason: str

    @field_validator("value")
    @classmethod
    def _finite(cls, value: float | str | None) -> float | str | None:
        return None if isinstance(value, float) and not math.isfinite(value) else value  # JSON has no NaN


def passed(checks: Sequence[Check]) -> bool:
    """True if there are checks and all say yes."""
    return bool(checks) and all(check.verdict == "yes" for check in checks)


class GateReport(BaseModel):
    """What the gate was asked, and what it said.

    Attributes:
        challenger: `name/version` that was judged.
        champion: `name/version` it was compared with, or `base model` for the first.
        benchmark: name of the frozen set.
        passed: whether all checks said yes.
        question: digest of all that determines the answer; equal questions need no second measurement.
        judged_ms: when, milliseconds since 1970.
        checks: in the gate's order.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    challenger: str
    champion: str
    benchmark: str
    passed: bool
    question: str
    judged_ms: int
    checks: tuple[Check, ...]

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> GateReport | None:
        """The report that this JSON object is; None for one of another version of the gate, which asked otherwise."""
        try:
            return cls.model_validate(content)
        except ValidationError:
            return None

    @property
    def refusals(self) -> list[Check]:
        """The checks that say no."""
        return [check for check in self.checks if check.verdict == "no"]

    def same_measurement_as(self, other: GateReport | None) -> bool:
        """Whether both are reports of one measurement."""
        return other is not None and (self.question, self.judged_ms, self.challenger) == (
            other.question,
            other.judged_ms,
            other.challenger,
        )

    def as_text(self) -> str:
        """One line of JSON, as a tag keeps it."""
        return json.dumps(self.model_dump(mode="json"), allow_nan=False)


def read_report(text: str, place: str) -> GateReport | None:
    """The report that `text` is; None for one of another version of the gate, which asked otherwise.

    Args:
        place: where `text` was found, for the error.

    Raises:
        BadInput: it is no report of any version.
    """
    try:
        content = json.loads(text)
    except ValueError as error:
        raise BadInput(f"{place} is no report of the gate ({error}): somebody changed it") from error
    if not isinstance(content, dict):
        raise BadInput(f"{place} is no report of the gate (it is no object): somebody changed it")
    return GateReport.of(content)
