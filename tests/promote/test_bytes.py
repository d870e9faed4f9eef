"""Who may write where models are trained, or where they are promoted to, and changes the bytes: nothing of it loads,
and no code that he put there is run."""

import base64
import json
import os
import pickle
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import mlflow
import numpy as np
import pytest
import yaml
from skimage import data
from typer.testing import CliRunner

from components.artifacts.shards import encode_png
from components.champion import stage as champion
from components.cli.app import app
from components.errors import BadInput
from components.promote.production import prepared
from components.register import stage
from components.registry import local
from components.registry.fetch import Found, model_of
from components.registry.models import built, checked_package, load_upscaler
from components.registry.reports import believed_report
from components.registry.tracking import tracking_uri
from components.registry.trust import UNSIGNED, trust_of
from components.registry.versions import GATE_TAG
from components.serving import package
from components.settings import Settings, load_settings
from components.storage import digests
from tests.promote.championed import make_champion
from tests.promote.keyed import new_keys, sign_as
from tests.register.project import make_project, save_model

PHOTO = data.astronaut()[:20, 100:130].copy()
CHAMPION = "sr@champion"


class Canary:
    """Whoever unpickles it touches a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (self.file,))  # type: ignore[return-value]


@dataclass(frozen=True)
class Registry:
    """A project whose first model is the champion, signed by Ada; `canary` is where code of others would show."""

    root: Path
    settings: Settings

    @property
    def client(self) -> mlflow.MlflowClient:
        os.environ.pop("MLFLOW_TRACKING_URI", None)  # MLflow sets it itself, to the last database in use
        mlflow.set_tracking_uri(tracking_uri(self.settings.register_, self.root))
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        return mlflow.MlflowClient()

    @property
    def canary(self) -> Path:
        return self.root / "canary"

    @property
    def params(self) -> list[str]:
        return ["--params", str(self.root / "params.yaml")]

    def place(self, name: str) -> Path:
        """Where the files of `name/version` lie."""
        model, _, version = name.partition("/")
        return Path(self.client.get_model_version_download_uri(model, version).removeprefix("file://"))

    def restored(self, version_uri: str = CHAMPION) -> np.ndarray:
        return load_upscaler(self.settings, self.root, version_uri, {})(PHOTO, 3)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Registry:
    root = tmp_path_factory.mktemp("project")
    shutil.copy(empty_database, root / "mlflow.db")
    make_project(root)
    (root / "reports/evaluation.parquet").write_bytes(b"rows")
    values = yaml.safe_load((root / "params.yaml").read_text())
    values["register"]["model_name"] = "sr-dev"
    values["gate"] |= {"signing": "ed25519", "signers": {"ada": new_keys(root / "keys")["ada"]}}
    (root / "params.yaml").write_text(yaml.safe_dump(values))
    settings = load_settings(root / "params.yaml")
    stage.run(settings, root)
    with pytest.MonkeyPatch.context() as patch:
        sign_as(patch, root / "keys", "ada")
        make_champion(settings, root, "sr-dev/1", by="ada")
    return Registry(root, settings)


@pytest.fixture
def registry(first: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """A copy of it, moved with its artifacts; Ada's key signs."""
    shutil.copytree(first.root, tmp_path / "project")
    local.prepare(tmp_path / "project/mlflow.db")  # its artifacts are those of the copy from here on
    sign_as(monkeypatch, tmp_path / "project/keys", "ada")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return Registry(tmp_path / "project", first.settings)


def other_weights(place: Path, registry: Registry) -> str:
    """A model of the same shape that restores otherwise."""
    save_model(registry.root, seed=5)
    shutil.copy(registry.root / "models/aligned/best/model.safetensors", place / "artifacts/best/model.safetensors")
    return "artifacts/best/model.safetensors"


def a_pickle(place: Path, registry: Registry) -> str:
    """MLmodel as of a model that is a pickle: MLflow unpickles it before anything of ours is asked."""
    content = yaml.safe_load((place / "MLmodel").read_text())
    function = content["flavors"]["python_function"]
    function |= {"loader_module": "mlflow.pyfunc.model", "python_model": "python_model.pkl"}
    del function["model_code_path"]
    (place / "python_model.pkl").write_bytes(pickle.dumps(Canary(registry.canary)))
    (place / "MLmodel").write_text(yaml.safe_dump(content))
    return "MLmodel"


def other_code(place: Path, registry: Registry) -> str:
    """The model's own code, which MLflow runs to load it."""
    text = (place / "served_model.py").read_text()
    (place / "served_model.py").write_text(f"open({str(registry.canary)!r}, 'w').close()\n{text}")
    return "served_model.py"


def unpicklable_weights(place: Path, registry: Registry) -> str:
    """Weights in the form that torch.load takes."""
    (place / "artifacts/best/model.bin").write_bytes(pickle.dumps(Canary(registry.canary)))
    return "artifacts/best/model.bin"


Attack = Callable[[Path, Registry], str]
ATTACKS: list[Attack] = [other_weights, a_pickle, other_code, unpicklable_weights]


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_champion_is_not_changed_where_it_was_trained(registry: Registry, attack: Attack) -> None:
    before = registry.restored()
    attack(registry.place("sr-dev/1"), registry)
    np.testing.assert_array_equal(registry.restored(), before)
    assert not registry.canary.exists()


@pytest.mark.parametrize("attack", ATTACKS)
def test_changed_files_of_a_champion_are_refused_before_anything_is_loaded(
    registry: Registry, attack: Attack, tmp_path: Path
) -> None:
    named = attack(registry.place("sr/1"), registry)
    told = r"sr/1 is not what was promoted: model/\S+ is .*\(record 1\)"
    for load in (
        registry.restored,
        lambda: registry.restored("sr/1"),
        lambda: checked_package(registry.settings, registry.root, CHAMPION),  # what `dp2o serve` serves
        lambda: champion.run(registry.settings, registry.root),  # what a retraining starts from
    ):
        with pytest.raises(BadInput, match=told):
            load()
    (tmp_path / "photo.png").write_bytes(encode_png(PHOTO))
    for command in (["upscale", str(tmp_path / "photo.png"), "--model", f"models:/{CHAMPION}"], ["models", "verify"]):
        done = CliRunner().invoke(app, [*command, *registry.params])
        assert done.exit_code == 2, done.output
        assert "is not what was promoted: model/" in done.stderr
    assert not (tmp_path / "photo-x4.png").exists()
    assert not (registry.root / "models/champion").exists()
    assert not registry.canary.exists()
    assert named


@pytest.mark.parametrize("attack", [a_pickle, other_code])
def test_the_gate_runs_no_code_of_a_candidate_and_promotes_none(registry: Registry, attack: Attack) -> None:
    attack(registry.place("sr-dev/1"), registry)
    client = registry.client
    with pytest.raises(Exception):  # noqa: B017, PT011  # the canary lives: MLflow itself runs it, and then fails
        mlflow.pyfunc.load_model("models:/sr-dev/1").predict(None)
    assert registry.canary.exists()
    registry.canary.unlink()

    version = client.get_model_version("sr-dev", "1")
    copy = model_of(client, Found(version, None))
    assert built(registry.settings, registry.root, copy).digest == version.tags["dp2o.model"]
    made = prepared(client, version, copy.package)
    assert (made.folder / "model/served_model.py").read_text() == package._SERVED.read_text()
    assert "model/python_model.pkl" not in made.files
    mlflow.pyfunc.load_model(str(made.folder / "model"))
    assert not registry.canary.exists()


def test_weights_of_another_form_are_no_candidate(registry: Registry) -> None:
    unpicklable_weights(registry.place("sr-dev/1"), registry)
    version = registry.client.get_model_version("sr-dev", "1")
    with pytest.raises(BadInput, match=r"model\.bin is neither safetensors nor JSON"):
        built(registry.settings, registry.root, model_of(registry.client, Found(version, None)))
    assert not registry.canary.exists()


def test_weights_may_not_lie_outside_the_model(registry: Registry) -> None:
    path = registry.place("sr-dev/1") / "MLmodel"
    for place in ("../../..", "/etc", "artifacts/best/../../..", "."):
        content = yaml.safe_load(path.read_text())
        content["flavors"]["python_function"]["artifacts"]["backbone"]["path"] = place
        path.write_text(yaml.safe_dump(content))
        with pytest.raises(BadInput, match="that is no folder of the model"):
            package.read(path.parent)


def test_what_was_checked_is_what_is_loaded(registry: Registry) -> None:
    """Files that change between the check and the load change nothing."""
    before = registry.restored()
    copy = model_of(registry.client, Found(registry.client.get_model_version("sr", "1"), None))
    assert copy.folder.stat().st_mode & 0o077 == 0
    other_weights(registry.place("sr/1"), registry)
    np.testing.assert_array_equal(built(registry.settings, registry.root, copy)(PHOTO, 3), before)


def test_an_alias_moved_by_hand_serves_nothing_else(registry: Registry) -> None:
    """EDIT on the production model is enough to move an alias, and not to make a champion."""
    before, client = registry.restored(), registry.client
    version = client.get_model_version("sr-dev", "1")
    client.create_model_version("sr", version.source, tags=version.tags)
    client.set_registered_model_alias("sr", "champion", "2")
    client.set_registered_model_alias("sr", "stable", "2")
    np.testing.assert_array_equal(registry.restored(), before)
    for version_uri in ("sr/2", "sr@stable"):
        with pytest.raises(
            BadInput, match=r"sr/2 does not load, since gate\.signing is ed25519 and no record promotes it"
        ):
            registry.restored(version_uri)
    client.delete_registered_model_alias("sr", "champion")  # a retraining would begin with the base model
    assert champion.fetch(registry.settings, registry.root).champion == "sr/1"


def test_a_report_that_nobody_signed_is_no_report(registry: Registry) -> None:
    """It would otherwise hold, and a policy that is automatic would promote by it without a measurement."""
    text = {"challenger": "sr-dev/1", "champion": "sr/1", "benchmark": "v1-x", "passed": True, "question": "q"}
    text |= {"judged_ms": 1, "checks": []}
    registry.client.set_model_version_tag("sr-dev", "1", GATE_TAG, json.dumps(text))
    version = registry.client.get_model_version("sr-dev", "1")
    assert believed_report(version, UNSIGNED) is not None
    assert believed_report(version, trust_of(registry.settings.gate, registry.root)) is None


def test_a_champion_from_before_signing_is_vouched_for_and_then_loads(registry: Registry) -> None:
    """As an older version left it: a version that points at the training's files, and records without signatures."""
    values = yaml.safe_load((registry.root / "params.yaml").read_text())
    values["register"]["model_name"] = "old-dev"
    (registry.root / "params.yaml").write_text(yaml.safe_dump(values))
    settings = load_settings(registry.root / "params.yaml")
    client, version = registry.client, registry.client.get_model_version("sr-dev", "1")
    for name, source in (("old-dev", version.source), ("old", "models:/old-dev/1")):
        client.create_registered_model(name)
        client.create_model_version(name, source, version.run_id, tags=version.tags)
    client.set_registered_model_alias("old", "champion", "1")
    unsigned_record(client)
    unsigned = settings.model_copy(update={"gate": settings.gate.model_copy(update={"signing": "none"})})
    before = load_upscaler(unsigned, registry.root, "old@champion", {})(
        PHOTO, 3
    )  # still believed, where nothing is asked

    with pytest.raises(BadInput, match=r"record 1 of old-history .* is not signed"):
        load_upscaler(settings, registry.root, "old@champion", {})
    done = CliRunner().invoke(app, ["models", "sign", "--by", "ada", *registry.params])
    assert done.exit_code == 0, done.output
    assert (
        "ada vouches for old/1, as old/2, and the 1 records before (record 2, signed with the key of ada)"
        in done.stdout
    )
    np.testing.assert_array_equal(load_upscaler(settings, registry.root, "old@champion", {})(PHOTO, 3), before)
    assert client.get_model_version_by_alias("old", "champion").version == 2
    other_weights(registry.place("old/1"), registry)
    np.testing.assert_array_equal(load_upscaler(settings, registry.root, "old@champion", {})(PHOTO, 3), before)
    shown = CliRunner().invoke(app, ["history", *registry.params])
    assert [line.split(": ")[0].split("UTC ")[-1] for line in shown.stdout.splitlines()] == [
        "promote by bob (not signed)",
        "vouch by ada (key of ada)",
        "champion",
    ]


def unsigned_record(client: mlflow.MlflowClient) -> None:
    old = {"kind": "promote", "model": "old", "version": 1, "source": "old-dev/1", "parent": None, "after": 0}
    old |= {"after_digest": "", "by": "bob", "reason": "passed", "gate": {}}
    tags = {"dp2o.record": json.dumps(old), "dp2o.record_digest": digests.of_json(old)}
    client.create_registered_model("old-history")
    client.create_model_version("old-history", "models:/old/1", tags=tags)


def test_an_attestation_is_checked_by_us_and_by_a_stock_tool(registry: Registry, tmp_path: Path) -> None:
    file = tmp_path / "champion.intoto.json"
    done = CliRunner().invoke(app, ["models", "attest", "-o", str(file), *registry.params])
    assert done.exit_code == 0, done.output
    envelope = json.loads(file.read_text())
    assert envelope["payloadType"] == "application/vnd.in-toto+json"
    statement = json.loads(base64.b64decode(envelope["payload"]))
    assert (statement["_type"], statement["predicateType"]) == (
        "https://in-toto.io/Statement/v1",
        "https://slsa.dev/provenance/v1",
    )
    weights = registry.place("sr/1") / "artifacts/best/model.safetensors"
    subjects = {entry["name"]: entry["digest"]["sha256"] for entry in statement["subject"]}
    assert subjects["model/artifacts/best/model.safetensors"] == digests.of_file(weights)
    assert "reports/evaluation.parquet" in subjects
    made_of = {entry["name"] for entry in statement["predicate"]["buildDefinition"]["resolvedDependencies"]}
    assert {"data/dataset.parquet", "base model"} <= made_of
    run = registry.client.get_model_version("sr", "1").run_id
    assert statement["predicate"]["runDetails"]["metadata"]["invocationId"] == run
    assert {"record", "metric psnr"} <= {one["name"] for one in statement["predicate"]["runDetails"]["byproducts"]}

    whole = registry.place("sr/1").parent
    check = ["models", "verify", "--attestation", str(file), *registry.params]
    good = CliRunner().invoke(app, [*check, "--files", str(whole)])
    assert good.exit_code == 0, good.output
    assert "signed with the key of ada; " in good.stdout
    assert " files are what was promoted" in good.stdout
    other_weights(registry.place("sr/1"), registry)
    bad = CliRunner().invoke(app, [*check, "--files", str(whole)])
    assert bad.exit_code == 2
    assert "model.safetensors is not what" in bad.stderr

    payload = json.dumps(statement | {"subject": []}).encode()
    file.write_text(json.dumps(envelope | {"payload": base64.b64encode(payload).decode()}))
    forged = CliRunner().invoke(app, check)
    assert forged.exit_code == 2
    assert "signed by no key of gate.signers (ada), or was changed" in forged.stderr
    by_openssl(envelope, registry.root / "keys/ada.pub", tmp_path)


def by_openssl(envelope: dict[str, str], public: Path, folder: Path) -> None:
    """The signature of a DSSE envelope by a tool that has nothing of ours: over its pre-authentication encoding."""
    payload, kind = base64.b64decode(envelope["payload"]), envelope["payloadType"].encode()
    (folder / "said").write_bytes(b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload))
    (folder / "signature").write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))  # type: ignore[index]
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", str(public), "-rawin"]
    command += ["-in", str(folder / "said"), "-sigfile", str(folder / "signature")]
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: no stock tool has checked the signature")
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    assert "Verified Successfully" in done.stdout
