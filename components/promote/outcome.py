"""What a promotion, rejection or rollback came to, and the news of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from components.artifacts.gate_report import GateReport
from components.errors import HistoryBroken
from components.promote import notify
from components.registry.history import SUFFIX
from components.registry.trust import Trust
from components.settings import Settings

Decision = Literal["promoted", "already champion", "refused", "awaits approval", "rejected", "vouched"]


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


@contextmanager
def watched(settings: Settings, name: str) -> Iterator[None]:
    """Whoever is on call is told if the history of `name` turns out not to be what it was."""
    try:
        yield
    except HistoryBroken as error:
        announce(settings, f"NOTHING IS PROMOTED: {error}", "danger", history=f"{name}{SUFFIX}")
        raise


def signed_by(trust: Trust, by: str) -> str:
    """What the name of who decided is worth."""
    key = trust.key()
    if key is None:
        return f"not signed: {by} is what was typed"
    return f"signed with the key of {key[0]}" + ("" if key[0] == by else f"; {by} is what was typed")


def reason_clause(reason: str) -> str:
    """A reason, where one was given, as the end of a sentence."""
    return f": {reason}" if reason else ""


def champion_name(model: str, version: int | None) -> str:
    """`model/version` of the champion, or `none`."""
    return "none" if version is None else f"{model}/{version}"
