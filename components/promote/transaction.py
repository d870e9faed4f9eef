"""Making a version the champion: record first, alias second, and whoever comes next finishes what a crash left.

    copy ──> record ──> alias ──> read back
         (a)        (b)       (c)

A crash at (a) leaves a copy without an alias: the next promotion of the same result takes it. At (b) the record counts
and the alias is behind: every command that changes anything settles that first. At (c) all is done.
"""

import mlflow
from mlflow.entities.model_registry import ModelVersion

from components.errors import ResumeLater
from components.failpoints import Failpoint, no_failpoint
from components.registry import ledger
from components.registry.ledger import Content, History
from components.registry.versions import (
    CHAMPION,
    GATE_TAG,
    IDENTITY_TAG,
    PARENT_TAG,
    VERDICT_TAG,
    alias_version,
    find_version,
)

_ATTEMPTS = 10


def reconcile(client: mlflow.MlflowClient, name: str) -> History:
    """Bring the alias where the history says it belongs.

    Ends only after it has read back what it, or another, wrote: a slow writer that puts an old champion over a newer
    one sees that here and puts it right.

    Raises:
        ResumeLater: others keep changing it.
    """
    for _ in range(_ATTEMPTS):
        history = ledger.read(client, name)
        if history.champion is None or alias_version(client, name, CHAMPION) == history.champion:
            return history
        client.set_registered_model_alias(name, CHAMPION, str(history.champion))
    raise ResumeLater(f"the champion of {name} is changed again and again by others: run the same command again")


def copy_to_production(client: mlflow.MlflowClient, version: ModelVersion, production: str) -> int:
    """Number of `version` in the production model: its own, or that of its copy, which is made once.

    A copy of an earlier promotion is judged anew like any other: it gets the new report.
    """
    if version.name == production:
        return int(version.version)
    exists = [model for model in client.search_registered_models(f"name = '{production}'") if model.name == production]
    copied = find_version(client, production, version.tags[IDENTITY_TAG]) if exists else None
    if copied is None:
        copied = client.copy_model_version(f"models:/{version.name}/{version.version}", production)
    for tag in (GATE_TAG, VERDICT_TAG, PARENT_TAG):
        if tag in version.tags and copied.tags.get(tag) != version.tags[tag]:
            client.set_model_version_tag(production, copied.version, tag, version.tags[tag])
    return int(copied.version)


def commit(client: mlflow.MlflowClient, name: str, content: Content, failpoint: Failpoint = no_failpoint) -> int:
    """Record `content` and move the alias; the record's number.

    Raises:
        ResumeLater: another promotion or rollback was recorded first; it is named, and nothing was moved.
    """
    number = ledger.append(client, name, content)
    failpoint("recorded")
    (own,) = [record for record in ledger.read(client, name).records if record.number == number]
    if own.status != "counts":
        raise ResumeLater(
            f"{content.kind} of {content.model}/{content.version} lost: record {own.lost_to} of {name}{ledger.SUFFIX} "
            "was written first and decided what the champion is. Nothing was moved; look at `dp2o history`, and run "
            "the same command again if it is still wanted"
        )
    reconcile(client, name)
    failpoint("moved")
    return number
