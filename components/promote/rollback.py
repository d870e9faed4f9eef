"""Back to an earlier champion: one record, and the alias."""

from pathlib import Path

import mlflow

from components.errors import BadInput
from components.failpoints import Failpoint, no_failpoint
from components.promote.outcome import Outcome, announce, reason_clause, signed_by, watched
from components.promote.transaction import commit, reconcile
from components.registry import ledger
from components.registry.fetch import in_history
from components.registry.history import Content, Record
from components.registry.tracking import connected
from components.registry.trust import Trust, trust_of
from components.registry.versions import CHAMPION, alias_version, production_name
from components.settings import Settings


def rollback(
    settings: Settings,
    root: Path,
    by: str,
    to: int | None = None,
    reason: str = "",
    failpoint: Failpoint = no_failpoint,
) -> Outcome:
    """Give the alias back to the champion before this one, or to the earlier champion `to`; moves nothing else.

    Raises:
        BadInput: there is no such earlier champion.
        ResumeLater: another promotion or rollback came first, or the registry is away.
    """
    name, trust = production_name(settings.register_.model_name), trust_of(settings.gate, root)
    trust.key()
    with connected(settings.register_, root) as client, watched(settings, name):
        cut_off = _unfinished_rollback(client, name, trust)
        history = reconcile(client, name, trust)
        if cut_off is not None and to in (None, cut_off.content.version):
            # Going back once more is what nobody asked for: the same command, run again after a crash, ends here.
            target = cut_off.content.version
            text = f"{name}/{target} is the champion again: record {cut_off.number}, which was cut off, is finished"
            return Outcome("promoted", name, target, text, None)
        earlier = list(history.champions[:-1])
        present = history.champion
        if present is None or not earlier:
            raise BadInput(f"{name} has no earlier champion to go back to; `dp2o history` shows what there was")
        target = earlier[-1] if to is None else to
        if target not in earlier:
            raise BadInput(f"{name}/{target} is no earlier champion; those are {', '.join(map(str, earlier))}")
        in_history(settings.register_, trust, client.get_model_version(name, str(target)), history)  # it must load
        why = f"from {name}/{present} back to {name}/{target}{reason_clause(reason)}"
        content = Content("rollback", name, target, f"{name}/{target}", present, by, why, {})
        record = commit(client, name, content, history, trust, failpoint)
        text = f"{name}/{target} is the champion again (record {record}, {signed_by(trust, by)}): {why}"
        announce(settings, text, "warning", version=f"{name}/{target}", before=f"{name}/{present}", by=by)
        return Outcome("promoted", name, target, text, None)


def _unfinished_rollback(client: mlflow.MlflowClient, name: str, trust: Trust) -> Record | None:
    """The last record that counts, if it is a rollback whose alias was not moved yet."""
    known = ledger.read(client, name, trust)
    head = known.head
    if head is None or head.content.kind != "rollback" or alias_version(client, name, CHAMPION) == known.champion:
        return None
    return head
