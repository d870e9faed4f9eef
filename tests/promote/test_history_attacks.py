"""Who may write the registry and tries to change what was decided: it is noticed, and nothing is promoted on it."""

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import mlflow
import pytest
import yaml
from typer.testing import CliRunner

from components.cli.app import app
from components.errors import BadInput, HistoryBroken
from components.promote import notify
from components.promote.transaction import reconcile
from components.registry import ledger
from components.registry.anchor import Anchored
from components.registry.anchor_git import GitAnchor
from components.registry.history import SUFFIX
from components.registry.ledger import CONTENT_TAG, DIGEST_TAG, ENVELOPE_TAG
from components.registry.trust import UNSIGNED, Trust
from components.registry.versions import CHAMPION, alias_version
from components.storage import digests
from tests.made import small_params
from tests.promote.keyed import new_keys, sign_as
from tests.promote.listener import listening
from tests.promote.test_transaction import NAME, copied, killed_at, promote, rollback

LEDGER = NAME + SUFFIX
Client = mlflow.MlflowClient


@pytest.fixture
def trust(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trust:
    """Ada's key signs, and the history is anchored in a git repository."""
    public = new_keys(tmp_path / "keys")
    sign_as(monkeypatch, tmp_path / "keys", "ada")
    subprocess.run(["git", "init", "-q", "--bare", str(tmp_path / "anchor.git")], check=True, timeout=300)
    return Trust(True, {"ada": public["ada"]}, GitAnchor(str(tmp_path / "anchor.git"), "history"))


def on_a_copy(name: str) -> Client:
    """A client of a copy of the present registry."""
    here = Path(mlflow.get_tracking_uri().removeprefix("sqlite:///"))
    shutil.copy(here, here.with_name(f"{name}.db"))
    mlflow.set_tracking_uri(f"sqlite:///{here.with_name(f'{name}.db')}")
    return Client()


def rewrite(client: Client, number: int, **changes: object) -> None:
    """Another record in the place of one, with a digest that fits."""
    plain = json.loads(client.get_model_version(LEDGER, str(number)).tags[CONTENT_TAG]) | changes
    client.set_model_version_tag(LEDGER, str(number), CONTENT_TAG, json.dumps(plain))
    client.set_model_version_tag(LEDGER, str(number), DIGEST_TAG, digests.of_json(plain))


def forged(client: Client, tags: dict[str, str]) -> None:
    """A record that nobody of this project wrote."""
    client.create_model_version(LEDGER, f"models:/{NAME}/1", tags=tags)


def signed_history(client: Client, trust: Trust) -> None:
    for version in (1, 2, 3):
        promote(client, version, trust=trust)


def test_a_deleted_record_is_noticed_be_it_the_first_a_middle_one_or_the_last(client: Client, trust: Trust) -> None:
    signed_history(client, trust)
    assert ledger.read(client, NAME, trust).champions == [1, 2, 3]
    uri = mlflow.get_tracking_uri()
    told = {1: "record 1 of sr-history is missing", 2: "record 2 of sr-history is missing", 3: "were deleted"}
    for number, why in told.items():
        mlflow.set_tracking_uri(uri)
        copy = on_a_copy(f"without-{number}")
        copy.delete_model_version(LEDGER, str(number))
        for command in (ledger.read, reconcile):
            with pytest.raises(HistoryBroken, match=why):
                command(copy, NAME, trust)
        assert alias_version(copy, NAME, CHAMPION) == 3  # production is not moved back
    mlflow.set_tracking_uri(uri)
    copy = on_a_copy("without-any")
    copy.delete_registered_model(LEDGER)
    with pytest.raises(HistoryBroken, match=r"ends with record 0, and its anchor .* with 3"):
        reconcile(copy, NAME, trust)


def test_without_an_anchor_a_deleted_last_record_shows_at_the_next(client: Client) -> None:
    """Until then nothing is left that could tell; the settings say so."""
    promote(client, 1)
    promote(client, 2)
    client.delete_model_version(LEDGER, "2")
    with pytest.raises(HistoryBroken, match="record 2 of sr-history is missing, and there is a record 3"):
        promote(client, 3)


def test_a_rewritten_tail_is_noticed_by_the_anchor_alone(client: Client, trust: Trust) -> None:
    anchored = replace(trust, required=False)
    for version in (1, 2):
        promote(client, version, trust=anchored)
    rewrite(client, 2, by="eve", version=1)
    assert ledger.read(client, NAME, UNSIGNED).champions == [1]  # it is whole in itself
    with pytest.raises(HistoryBroken, match="records up to 2 of sr-history are not those that were anchored"):
        reconcile(client, NAME, anchored)


def test_refusals_and_what_lost_are_held_by_what_came_after(client: Client) -> None:
    promote(client, 1)

    def overtaken(point: str) -> None:
        if point == "copied":
            promote(client, 3)

    with pytest.raises(Exception, match="lost"):
        promote(client, 2, overtaken)
    promote(client, 2)
    assert [record.status for record in ledger.read(client, NAME, UNSIGNED).records][2] == "lost"
    rewrite(client, 3, reason="never happened")
    with pytest.raises(HistoryBroken, match="records up to 3 of sr-history are not what they were"):
        ledger.read(client, NAME, UNSIGNED)


def test_a_forged_record_is_refused_signed_or_not(
    client: Client,
    trust: Trust,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    promote(client, 1, trust=trust)
    promote(client, 2, trust=trust)
    uri = mlflow.get_tracking_uri()
    first = client.get_model_version(LEDGER, "1").tags
    plain = json.loads(client.get_model_version(LEDGER, "2").tags[CONTENT_TAG])
    plain |= {"version": 1, "after": 2, "after_digest": client.get_model_version(LEDGER, "2").tags[DIGEST_TAG]}
    wanted = {CONTENT_TAG: json.dumps(plain), DIGEST_TAG: digests.of_json(plain)}

    for name, tags in {"unsigned": wanted, "replayed": wanted | {ENVELOPE_TAG: first[ENVELOPE_TAG]}}.items():
        mlflow.set_tracking_uri(uri)
        copy = on_a_copy(name)
        forged(copy, tags)
        with pytest.raises(HistoryBroken, match=r"record 3 of sr-history \(promote sr/1 by ada\) is "):
            reconcile(copy, NAME, trust)

    mlflow.set_tracking_uri(uri)
    with monkeypatch.context() as patch:
        sign_as(patch, tmp_path / "keys", "eve")
        with pytest.raises(BadInput, match=r"none of gate.signers \(ada\)"):
            rollback(client, 1, trust)
        hers = replace(trust, signers={"eve": new_keys(tmp_path / "others")["eve"]}, anchor=None)
        sign_as(patch, tmp_path / "others", "eve")
        rollback_by_eve = ledger.stored(client, NAME, trust.lenient)
        content = replace(rollback_by_eve.records[1].content, kind="rollback", version=1, files={})
        content = replace(content, after=2, after_digest=rollback_by_eve.records[1].digest)
        ledger.append(client, NAME, content, rollback_by_eve, hers)
    with pytest.raises(HistoryBroken, match=r"is signed by no key of gate\.signers"):
        reconcile(client, NAME, trust)


@pytest.mark.parametrize("tags", [
    *({CONTENT_TAG: change} for change in ({"model": 5}, {"after": []}, {"seen": "x"}, {"files": None}, {"gate": [1]})),
    {CONTENT_TAG: "[" * 5000},
    {ENVELOPE_TAG: "[" * 5000},
    {ENVELOPE_TAG: '{"payload": 1, "payloadType": [], "signatures": {}}'},
])  # fmt: skip
def test_a_record_of_any_content_is_an_error_that_pages(client: Client, trust: Trust, tags: dict[str, object]) -> None:
    promote(client, 1, trust=trust)
    plain = json.loads(client.get_model_version(LEDGER, "1").tags[CONTENT_TAG])
    change = tags.get(CONTENT_TAG)
    wanted = {CONTENT_TAG: json.dumps(plain), DIGEST_TAG: digests.of_json(plain)} | tags
    if isinstance(change, dict):
        wanted = {CONTENT_TAG: json.dumps(plain | change), DIGEST_TAG: digests.of_json(plain | change)}
    forged(client, {name: str(value) for name, value in wanted.items()})
    with pytest.raises(HistoryBroken):
        reconcile(client, NAME, trust)


def test_a_record_of_another_model_is_no_record_of_this_one(client: Client, trust: Trust) -> None:
    """Signed by who may sign, for another model: copied here it makes no champion."""
    promote(client, 1, trust=trust)
    tags = client.get_model_version(LEDGER, "1").tags
    client.create_registered_model("other-history")
    client.create_model_version("other-history", "models:/sr/1", tags=tags)
    with pytest.raises(HistoryBroken, match="record 1 of other-history is about sr: somebody copied it"):
        ledger.read(client, "other", replace(trust, anchor=None))


@pytest.mark.parametrize("point", ["recorded", "moved"])
def test_killed_before_the_anchor_or_after_it_the_next_command_settles(
    client: Client,
    trust: Trust,
    point: str,
) -> None:
    promote(client, 1, trust=trust)
    killed_at(point, lambda failpoint: promote(Client(), 2, failpoint, trust), mlflow.get_tracking_uri())
    assert reconcile(client, NAME, trust).champion == alias_version(client, NAME, CHAMPION) == 2
    assert trust.anchor is not None
    content, _ = trust.anchor.read(NAME)
    assert content is not None
    assert json.loads(content)["number"] == 2


def test_of_two_writers_the_anchor_takes_one(trust: Trust) -> None:
    anchor = trust.anchor
    assert anchor is not None
    assert anchor.read(NAME) == (None, None)
    assert anchor.write(NAME, Anchored(1, "a"), None)
    assert not anchor.write(NAME, Anchored(1, "b"), None)
    content, token = anchor.read(NAME)
    assert anchor.write("other", Anchored(5, "o"), token)  # another model's anchor on the same branch
    assert not anchor.write(NAME, Anchored(2, "c"), token)
    assert anchor.read(NAME)[0] == content
    assert json.loads(anchor.read("other")[0] or b"") == {"model": "other", "number": 5, "digest": "o"}


Project = Callable[..., list[str]]


@pytest.fixture
def project(client: Client, tmp_path: Path, trust: Trust) -> Project:
    """Arguments of commands on the registry of `client`, with these keys of the gate."""

    def written(**gate: object) -> list[str]:
        values = small_params()
        values["register"] = {"experiment": "test", "model_name": "sr-dev", "tracking_uri": "sqlite:///mlflow.db"}
        values["gate"] |= {"anchor": str(trust.anchor), "signing": "ed25519", "signers": dict(trust.signers), **gate}
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
        return ["--params", str(tmp_path / "params.yaml")]

    return written


def test_a_broken_history_stops_commands_and_pages_somebody(
    client: Client,
    trust: Trust,
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    signed_history(client, trust)
    client.delete_model_version(LEDGER, "2")
    with listening() as listener:
        monkeypatch.setenv(notify.VARIABLE, listener.url)
        done = CliRunner().invoke(app, ["rollback", "--by", "ada", *project()])
    assert done.exit_code == 2
    assert "record 2 of sr-history is missing" in done.stderr
    (heard,) = listener.heard
    assert heard["text"].startswith("NOTHING IS PROMOTED: record 2 of sr-history is missing")
    assert heard["attachments"][0]["color"] == "danger"
    assert CliRunner().invoke(app, ["history", *project()]).exit_code == 2


def test_an_anchor_that_is_gone_is_an_error_until_a_person_says_otherwise(
    client: Client,
    trust: Trust,
    project: Project,
    tmp_path: Path,
) -> None:
    promote(client, 1, trust=trust)
    subprocess.run(
        ["git", "-C", str(tmp_path / "anchor.git"), "update-ref", "-d", "refs/heads/history"], check=True, timeout=300
    )
    lost = CliRunner().invoke(app, ["history", *project()])
    assert lost.exit_code == 2
    assert "has 1 records, and" in lost.stderr
    shown = CliRunner().invoke(app, ["history", "--unchecked", *project()])
    assert "promote by ada (key of ada): passed" in shown.stdout, shown.output
    assert CliRunner().invoke(app, ["history", "--anchor", *project()]).exit_code == 0
    assert CliRunner().invoke(app, ["history", *project()]).exit_code == 0


def test_nobody_may_sign_is_said_before_anything_is_done(client: Client, project: Project) -> None:
    done = CliRunner().invoke(app, ["rollback", "--by", "ada", *project(signers={})])
    assert done.exit_code == 2
    assert "gate.signers names nobody" in done.stderr
    wrong = CliRunner().invoke(app, ["rollback", "--by", "ada", *project(signers={"ada": "ed25519:AAAA"})])
    assert wrong.exit_code == 2
    assert "is no public key" in wrong.stderr


def test_records_of_an_older_version_still_hold(client: Client, trust: Trust) -> None:
    """Unsigned, without files and without what was seen: believed where nothing is asked, and named where it is."""
    old = {"kind": "promote", "model": NAME, "version": 1, "source": "sr-dev/1", "parent": None, "after": 0}
    old |= {"after_digest": "", "by": "ada", "reason": "passed", "gate": {}}
    client.create_registered_model(LEDGER)
    copied(client, 1)
    forged(client, {CONTENT_TAG: json.dumps(old), DIGEST_TAG: digests.of_json(old)})
    assert ledger.read(client, NAME, UNSIGNED).champions == [1]
    with pytest.raises(HistoryBroken, match=r"is not signed: .* `dp2o models sign` vouches"):
        ledger.read(client, NAME, replace(trust, anchor=None))
