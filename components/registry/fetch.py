"""A version's files in a private folder, checked before anything is made of them: what is checked is what is loaded."""

import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from components.errors import BadInput
from components.registry import ledger
from components.registry.history import DEVELOPMENT, History, Record
from components.registry.provenance import MODEL
from components.registry.trust import Trust
from components.registry.versions import CHAMPION, IDENTITY_TAG, PREFIX, alias_version, resolve
from components.serving import package
from components.serving.package import Package
from components.serving.private import private_folder
from components.settings import RegisterSettings

logger = logging.getLogger("dp2o.registry")

_LEFT_BY_MLFLOW = "registered_model_meta"
"""A file that MLflow's download adds."""


@dataclass(frozen=True)
class Found:
    """A version, and the record that names its files.

    Attributes:
        record: None for what was not promoted, or before records named files.
        name: as people write it.
    """

    version: ModelVersion
    record: Record | None

    @property
    def name(self) -> str:
        """`name/version`."""
        return f"{self.version.name}/{self.version.version}"

    def tag(self, tag: str) -> str:
        """What the version's lineage says, by its record where that has it; empty where nothing is said."""
        lineage: Mapping[str, str] = self.record.content.lineage if self.record is not None else {}
        return lineage.get(tag, "") or str(self.version.tags.get(tag, ""))


@dataclass(frozen=True)
class Copy:
    """Files of a version in a folder that nobody else may write.

    Attributes:
        files: hex sha256 by path in the folder.
    """

    folder: Path
    files: Mapping[str, str]

    @property
    def package(self) -> Package:
        """Weights and settings of the model.

        Raises:
            BadInput: it is no model of this project's.
        """
        return package.read(self.folder / MODEL)


def find(client: MlflowClient, settings: RegisterSettings, trust: Trust, version_uri: str) -> Found:
    """The version of `name@alias` or `name/version`, with or without `models:/`, and its record.

    `@champion` is the champion of the history, wherever the alias is.

    Raises:
        BadInput: there is no such version, it is none of this project's, or it must be promoted and is not.
    """
    name, _, alias = version_uri.removeprefix(PREFIX).partition("@")
    serves = alias == CHAMPION
    if not serves:
        name = ours(client, version_uri).name
    if name.endswith(DEVELOPMENT):
        if trust.required:
            logger.warning("%s is a candidate: nobody has signed what it is", version_uri)
        return Found(ours(client, version_uri), None)
    history = ledger.read(client, name, trust)
    if serves and history.champion is not None:
        version_uri = f"{name}/{history.champion}"
    return in_history(settings, trust, ours(client, version_uri), history, serves)


def champion(client: MlflowClient, settings: RegisterSettings, trust: Trust, name: str) -> Found | None:
    """What serves: the champion of the history, wherever the alias is, or if somebody took it away; None before the
    first.

    Raises:
        BadInput: it does not load, since records must be signed, and none that is names its files.
        HistoryBroken: the history is not what it was.
    """
    history = ledger.read(client, name, trust)
    number = history.champion if history.champion is not None else alias_version(client, name, CHAMPION)
    if number is None:
        return None
    return in_history(settings, trust, ours(client, f"{name}/{number}"), history)


def in_history(
    settings: RegisterSettings, trust: Trust, version: ModelVersion, history: History, serves: bool = True
) -> Found:
    """A version of a production model with the record that names its files.

    Args:
        serves: whether it is asked for as what serves.

    Raises:
        BadInput: records must be signed, and none that is names its files.
    """
    number = int(version.version)
    found = Found(version, history.naming(number))
    if found.record is not None:
        return found
    if not serves and version.name == settings.model_name and not history.promoted(number):
        return found  # one model for both environments, and a candidate of it
    if trust.required:
        why = "its record is older, and names no files" if history.promoted(number) else "no record promotes it"
        raise BadInput(
            f"{found.name} does not load, since gate.signing is ed25519 and {why}: `dp2o models sign "
            f"{found.name}` vouches for its present files, if you know that they are right; or promote it"
        )
    logger.warning("%s: no record of the history names its files, so that a change of them would not show", found.name)
    return found


def ours(client: MlflowClient, version_uri: str) -> ModelVersion:
    """The version of `name@alias` or `name/version`, with or without `models:/`.

    Raises:
        BadInput: there is no such version, or it is none of this project's.
    """
    found = resolve(client, version_uri)
    if IDENTITY_TAG not in found.tags:
        raise BadInput(f"{version_uri} was not registered by `dp2o register`; `dp2o models list` shows those that were")
    return found


def model_of(client: MlflowClient, found: Found) -> Copy:
    """The model in a private folder, with exactly the files that its record names.

    Raises:
        BadInput: a file is changed, missing or too many.
    """
    folder = private_folder()
    uri = f"{PREFIX}{found.version.name}/{found.version.version}"
    local = mlflow.artifacts.download_artifacts(
        artifact_uri=uri, dst_path=str(folder / MODEL), tracking_uri=mlflow.get_tracking_uri()
    )
    if Path(local).resolve() != (folder / MODEL).resolve():
        raise BadInput(f"{found.name} is no folder of a model; register it again")
    (folder / MODEL / _LEFT_BY_MLFLOW).unlink(missing_ok=True)
    files = package.files_of(folder)
    if found.record is not None:
        named = found.record.content.files
        _compare(found, {name: sha for name, sha in named.items() if name.startswith(MODEL)}, files)
    return Copy(folder, files)


def file_of(client: MlflowClient, found: Found, path: str) -> Path | None:
    """One more file that was promoted with the model, in a private folder; None where the record names none.

    Raises:
        BadInput: it is changed or missing.
    """
    if found.record is None or path not in found.record.content.files:
        return None
    folder = private_folder()
    download(client, found.record.content.run, path, folder)
    _compare(found, {path: found.record.content.files[path]}, package.files_of(folder))
    return folder / path


def download(client: MlflowClient, run: str, path: str, folder: Path) -> None:
    """A file of a run, at the same path below `folder`."""
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        arrived = Path(client.download_artifacts(run, path, temporary))  # where in it depends on the kind of store
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        arrived.replace(folder / path)


def _compare(found: Found, wanted: Mapping[str, str], files: Mapping[str, str]) -> None:
    assert found.record is not None
    differing = {name: "changed" for name in wanted if name in files and files[name] != wanted[name]}
    differing |= {name: "missing" for name in wanted if name not in files}
    differing |= {name: "not of the model" for name in files if name not in wanted}
    if differing:
        name = min(differing)
        more = f", and {len(differing) - 1} others are not as promoted" if len(differing) > 1 else ""
        raise BadInput(
            f"{found.name} is not what was promoted: {name} is {differing[name]}{more} (record "
            f"{found.record.number}). Nothing was loaded; roll back, or promote it again, and find out who may write "
            "there"
        )
