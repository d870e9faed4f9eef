"""Making a version the champion: record first, alias second, and whoever comes next finishes what a crash left.

    copy ──> record ──> anchor ──> alias ──> read back
         (a)        (b)        (b)       (c)

A crash at (a) leaves a copy without an alias: the next promotion of the same result takes it. At (b) the record counts
and anchor or alias are behind: every command that changes anything settles that first. At (c) all is done.
"""

from dataclasses import replace

import mlflow

from components.errors import ResumeLater
from components.failpoints import Failpoint, no_failpoint
from components.registry import ledger
from components.registry.history import SUFFIX, Content, History
from components.registry.trust import Trust
from components.registry.versions import CHAMPION, alias_version

_ATTEMPTS = 10


def reconcile(client: mlflow.MlflowClient, name: str, trust: Trust) -> History:
    """Bring the anchor and the alias where the history says they belong, in this order.

    Ends only after it has read back what it, or another, wrote: a slow writer that puts an old champion over a newer
    one sees that here and puts it right.

    Raises:
        HistoryBroken: the history is not what it was.
        ResumeLater: others keep changing it.
    """
    for _ in range(_ATTEMPTS):
        history = ledger.anchor(client, name, trust)
        if history.champion is None or alias_version(client, name, CHAMPION) == history.champion:
            return history
        client.set_registered_model_alias(name, CHAMPION, str(history.champion))
    raise ResumeLater(f"the champion of {name} is changed again and again by others: run the same command again")


def commit(
    client: mlflow.MlflowClient,
    name: str,
    content: Content,
    history: History,
    trust: Trust,
    failpoint: Failpoint = no_failpoint,
) -> int:
    """Record `content`, which follows `history`, and move the alias; the record's number.

    Raises:
        ResumeLater: another promotion or rollback was recorded first; it is named, and nothing was moved.
    """
    after, digest = following(history)
    number = ledger.append(client, name, replace(content, after=after, after_digest=digest), history, trust)
    failpoint("recorded")
    (own,) = [record for record in ledger.read(client, name, trust).records if record.number == number]
    if own.status != "counts":
        raise ResumeLater(
            f"{content.kind} of {content.model}/{content.version} lost: record {own.lost_to} of {name}{SUFFIX} "
            "was written first and decided what the champion is. Nothing was moved; look at `dp2o history`, and run "
            "the same command again if it is still wanted"
        )
    reconcile(client, name, trust)
    failpoint("moved")
    return number


def following(history: History) -> tuple[int, str]:
    """`after` and `after_digest` of the next decision."""
    return (history.head.number, history.head.digest) if history.head else (0, "")
