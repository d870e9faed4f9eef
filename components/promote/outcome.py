"""What a promotion, rejection or rollback came to, and the news of it."""

from dataclasses import dataclass
from typing import Any, Literal

from components.artifacts.gate_report import GateReport
from components.promote import notify
from components.settings import Settings

Decision = Literal["promoted", "already champion", "refused", "awaits approval", "rejected"]


@dataclass(frozen=True)
class Outcome:
    """What was decided about `model`/`version`; `report` is the gate's, None where nothing was judged."""

    decision: Decision
    model: str
    version: int
    text: str
    report: GateReport | None

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "decision": self.decision,
            "model": self.model,
            "version": self.version,
            "text": self.text,
            "report": None if self.report is None else self.report.model_dump(mode="json"),
        }


def announce(settings: Settings, text: str, mood: notify.Mood, **fields: str) -> None:
    """Send the news to the settings' webhook."""
    notify.send(settings.register_.webhook.get_secret_value(), text, mood, fields)


def reason_clause(reason: str) -> str:
    """A reason, where one was given, as the end of a sentence."""
    return f": {reason}" if reason else ""


def champion_name(model: str, version: int | None) -> str:
    """`model/version` of the champion, or `none`."""
    return "none" if version is None else f"{model}/{version}"
