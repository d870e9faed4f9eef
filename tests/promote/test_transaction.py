"""Records and the alias, on a real registry: cut off at every point, two at once, back again."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest
from mlflow.exceptions import MlflowException

from components.errors import BadInput, ResumeLater
from components.failpoints import Failpoint, no_failpoint
from components.promote.production import Promoted, copy_to_production
from components.promote.transaction import commit, reconcile
from components.registry import ledger
from components.registry.history import SUFFIX, Content, History, Record, replay
from components.registry.trust import UNSIGNED, Trust
from components.registry.versions import CHAMPION, alias_version
from components.settings import RegisterSettings
from tests.promote.championed import files_like_a_model

DEV, NAME = "sr-dev", "sr"


def copied(client: mlflow.MlflowClient, version: int, dev: str = DEV, name: str = NAME) -> tuple[int, Promoted]:
    """`dev/version` copied to production, as if its model were a file with its number; the copy's number."""
    root = Path(mlflow.get_tracking_uri().removeprefix("sqlite:///")).parent
    made = files_like_a_model(root / f"made-{version}", version)
    settings = RegisterSettings(experiment="test", model_name=dev, tracking_uri="sqlite:///mlflow.db")
    number, _ = copy_to_production(client, (settings, root), client.get_model_version(dev, str(version)), name, made)
    return number, made


def promote(
    client: mlflow.MlflowClient, version: int, failpoint: Failpoint = no_failpoint, trust: Trust = UNSIGNED
) -> int:
    """The part of a promotion that follows the gate; the version in production."""
    history = reconcile(client, NAME, trust)
    number, made = copied(client, version)
    failpoint("copied")
    if history.champion != number:
        source = f"{DEV}/{version}"
        content = Content("promote", NAME, number, source, history.champion, "ada", "passed", {}, files=made.files)
        commit(client, NAME, content, history, trust, failpoint)
    return number


def rollback(client: mlflow.MlflowClient, to: int, trust: Trust = UNSIGNED) -> None:
    history = reconcile(client, NAME, trust)
    content = Content("rollback", NAME, to, f"{NAME}/{to}", history.champion, "ada", "bad", {})
    commit(client, NAME, content, history, trust)


def read(client: mlflow.MlflowClient) -> History:
    return ledger.read(client, NAME, UNSIGNED)


def killed_at(point: str, work: Callable[[Failpoint], object], database: str) -> None:
    """Run `work` in a process that is killed with SIGKILL when it reaches `point`."""
    child = os.fork()
    if child == 0:
        try:
            # Another spelling of the path: MLflow then opens the database anew, instead of sharing connections.
            os.environ["MLFLOW_TRACKING_URI"] = database.replace("/mlflow.db", "/./mlflow.db")
            mlflow.set_tracking_uri(os.environ["MLFLOW_TRACKING_URI"])
            work(lambda name: os.kill(os.getpid(), signal.SIGKILL) if name == point else None)
        finally:
            os._exit(17)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), f"never reached {point}"
    assert os.WTERMSIG(status) == signal.SIGKILL


@pytest.mark.parametrize("point", ["copied", "recorded", "moved"])
def test_killed_anywhere_the_next_run_ends_consistent(client: mlflow.MlflowClient, point: str) -> None:
    promote(client, 1)
    killed_at(point, lambda failpoint: promote(mlflow.MlflowClient(), 2, failpoint), mlflow.get_tracking_uri())
    # Until somebody acts, the alias is where it was or where it was to go, never elsewhere.
    assert alias_version(client, NAME, CHAMPION) == (2 if point == "moved" else 1)
    settled = reconcile(client, NAME, UNSIGNED)
    assert settled.champion == alias_version(client, NAME, CHAMPION) == (1 if point == "copied" else 2)
    assert promote(client, 2) == 2
    assert alias_version(client, NAME, CHAMPION) == 2
    history = read(client)
    assert [(record.content.version, record.status) for record in history.records] == [(1, "counts"), (2, "counts")]
    assert len(client.search_model_versions(f"name = '{NAME}'")) == 2


def test_of_two_promotions_at_once_one_wins_and_the_other_says_why(client: mlflow.MlflowClient) -> None:
    promote(client, 1)

    def overtaken(point: str) -> None:
        if point == "copied":  # the first has read the history; the second comes and goes meanwhile
            promote(client, 3)

    with pytest.raises(ResumeLater, match=r"promote of sr/2 lost: record 2 of sr-history was written first"):
        promote(client, 2, overtaken)
    assert alias_version(client, NAME, CHAMPION) == 3
    history = read(client)
    assert [(r.number, r.status, r.lost_to) for r in history.records] == [
        (1, "counts", None),
        (2, "counts", None),
        (3, "lost", 2),
    ]
    promote(client, 2)
    assert alias_version(client, NAME, CHAMPION) == 2


def test_a_slow_writer_cannot_leave_an_old_champion(client: mlflow.MlflowClient) -> None:
    def overtaken(point: str) -> None:
        if point == "recorded":  # the alias is not moved yet; the next promotion settles, records and moves
            promote(client, 2)

    promote(client, 1, overtaken)
    assert alias_version(client, NAME, CHAMPION) == 2
    client.set_registered_model_alias(NAME, CHAMPION, "1")  # what a writer cut off after its late write leaves
    assert reconcile(client, NAME, UNSIGNED).champion == alias_version(client, NAME, CHAMPION) == 2


def test_rollback_moves_nothing_but_the_alias(client: mlflow.MlflowClient) -> None:
    for version in (1, 2, 3):
        promote(client, version)

    def versions() -> list[object]:
        found = [version for name in (DEV, NAME) for version in client.search_model_versions(f"name = '{name}'")]
        return sorted((version.name, version.version, version.source, str(version.tags)) for version in found)

    before, records = versions(), list(read(client).records)
    rollback(client, 2)
    assert alias_version(client, NAME, CHAMPION) == 2
    assert versions() == before
    history = read(client)
    assert list(history.records[:-1]) == records
    assert history.champions == [1, 2]  # a second rollback goes further back, not forth again
    rollback(client, 1)
    assert read(client).champions == [1]


def test_a_changed_record_shows(client: mlflow.MlflowClient) -> None:
    promote(client, 1)
    promote(client, 2)
    ledger_name = NAME + SUFFIX
    text = client.get_model_version(ledger_name, "1").tags[ledger.CONTENT_TAG]
    client.set_model_version_tag(ledger_name, "1", ledger.CONTENT_TAG, text.replace("ada", "eve"))
    with pytest.raises(BadInput, match="sr-history/1 does not fit its digest"):
        reconcile(client, NAME, UNSIGNED)
    client.set_model_version_tag(ledger_name, "1", ledger.CONTENT_TAG, "{}")
    with pytest.raises(BadInput, match="sr-history/1 is no record"):
        read(client)


def test_a_record_rewritten_with_its_digest_breaks_the_chain() -> None:
    def record(number: int, after: int, after_digest: str, digest: str) -> Record:
        return Record(number, 0, Content("promote", NAME, number, "", None, "", "", {}, after, after_digest), digest)

    assert replay([record(2, 1, "one", "two"), record(1, 0, "", "one")]).champions == [1, 2]
    with pytest.raises(BadInput, match="record 1 is not what it was when record 2 was written"):
        replay([record(1, 0, "", "other"), record(2, 1, "one", "two")])


def test_refusals_are_kept_and_change_nothing(client: mlflow.MlflowClient) -> None:
    promote(client, 1)
    refusal = Content("refuse", DEV, 2, f"{DEV}/2", 1, "gate", "grid", {"passed": False})
    ledger.append(client, NAME, refusal, read(client), UNSIGNED)
    assert promote(client, 3) == 2
    history = read(client)
    assert [record.status for record in history.records] == ["counts", "refused", "counts"]
    assert history.champions == [1, 2]


def test_a_copy_is_made_once_and_has_files_of_its_own(client: mlflow.MlflowClient) -> None:
    """Also where one model serves both environments: what was trained stays where trainers may write."""
    for name, first in ((NAME, 1), (DEV, 4)):
        assert copied(client, 2, name=name)[0] == first
        assert copied(client, 2, name=name)[0] == first
        version = client.get_model_version(name, str(first))
        run = client.get_run(version.run_id)
        assert client.get_experiment(run.info.experiment_id).name == "test-promoted"
        assert version.source == f"{run.info.artifact_uri}/model"


def test_a_copy_whose_files_were_changed_is_not_taken_again(client: mlflow.MlflowClient) -> None:
    number, _ = copied(client, 2)
    place = Path(client.get_model_version(NAME, str(number)).source.removeprefix("file://"))
    (place / "weights.json").write_text("another's")
    assert copied(client, 2)[0] == number + 1


def test_the_same_files_at_another_s_place_are_not_taken_for_the_copy(client: mlflow.MlflowClient) -> None:
    """Whoever may make versions of the production model could exchange them later, and nothing would serve."""
    _, made = copied(client, 2, name="other")
    tags = client.get_model_version("other", "1").tags
    client.create_registered_model(NAME)
    client.create_model_version(NAME, (made.folder / "model").as_uri(), tags=tags)
    run = client.create_run("0")
    client.create_model_version(NAME, (made.folder / "model").as_uri(), run.info.run_id, tags=tags)
    assert copied(client, 2)[0] == 3
    assert copied(client, 2)[0] == 3


def test_a_registry_that_fails_is_not_taken_for_an_existing_history(client: mlflow.MlflowClient) -> None:
    with pytest.raises(MlflowException):
        ledger.append(
            client, "in/valid", Content("refuse", DEV, 1, "", None, "", "", {}), History([], [], None), UNSIGNED
        )
