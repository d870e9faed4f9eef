"""A version's bytes in a place of the promoter's: made anew of what was judged, uploaded, and read back.

A registered model's version can point at another's files, and whoever may write those would decide what serves. So the
files are copied, into runs of an experiment beside the trainings', where only promoters need the right to write.
"""

import contextlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import mlflow
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from components.artifacts import paths
from components.artifacts.lock import LOCK, Lock, sources
from components.errors import BadInput, ResumeLater, UserError
from components.registry.fetch import Found, download, model_of
from components.registry.provenance import MODEL
from components.registry.tracking import experiment_id
from components.registry.versions import (
    GATE_ENVELOPE_TAG,
    GATE_TAG,
    IDENTITY_TAG,
    LINEAGE_TAGS,
    PARENT_TAG,
    VERDICT_TAG,
)
from components.serving import package
from components.serving.package import Package
from components.serving.private import private_folder
from components.settings import RegisterSettings
from components.storage import digests

PROMOTED = "-promoted"
"""What the name of the experiment with the promoted files has beyond that of the trainings'."""
FILES_TAG, SOURCE_TAG = "dp2o.files", "dp2o.source"
"""Digest of all files of a promoted version, and the version that they were made of."""
BESIDE = (paths.EVALUATION_ROWS.as_posix(), LOCK, "params.yaml")
"""Files of the training's run that go with the model: the monitor compares with the first, people read the others."""


@dataclass(frozen=True)
class Promoted:
    """Files that a version in production has, or is to have.

    Attributes:
        folder: with the model in `model`, and the files beside it.
        files: hex sha256 by path in it.
        inputs: DVC's md5 of what came from outside, by path; empty where the version's dvc.lock is not known.
    """

    folder: Path
    files: Mapping[str, str]
    inputs: Mapping[str, str]

    @property
    def digest(self) -> str:
        """Of all files."""
        return digests.of_json(dict(self.files))


def prepared(client: mlflow.MlflowClient, version: ModelVersion, model: Package) -> Promoted:
    """The files to promote: the judged weights and settings, with MLflow's files around them made anew.

    What `version` brings of its own, its MLmodel and code, goes no further.
    """
    folder = private_folder()
    package.write(folder / MODEL, model)
    if version.run_id:
        for path in BESIDE:
            parent = path.rpartition("/")[0]
            if path in {file.path for file in client.list_artifacts(version.run_id, parent or None)}:
                download(client, version.run_id, path, folder)
    return Promoted(folder, package.files_of(folder), _inputs(folder / LOCK, version.tags.get("dp2o.dvc_lock", "")))


def copy_to_production(
    client: mlflow.MlflowClient, place: tuple[RegisterSettings, Path], version: ModelVersion, name: str, made: Promoted
) -> tuple[int, str]:
    """Number of the version of `name` that has exactly these files, and the run that holds them; it is made once.

    A copy of an earlier promotion is judged anew like any other: it gets the new report.

    Args:
        place: settings and root, which say where the experiment is.

    Raises:
        ResumeLater: what arrived is not what was sent.
    """
    with contextlib.suppress(MlflowException):  # it is there already; what else can go wrong will again, just below
        client.create_registered_model(name)
    identity = version.tags[IDENTITY_TAG]
    known = client.search_model_versions(f"name = '{name}' and tags.`{IDENTITY_TAG}` = '{identity}'")
    experiment = _experiment(client, place)
    copies = [
        one
        for one in known
        if one.tags.get(FILES_TAG) == made.digest and _is_there(client, one, experiment) and arrived(client, one, made)
    ]
    if copies:
        copied = min(copies, key=lambda one: int(one.version))
    else:
        copied = _copied(client, experiment, version, name, made)
        if not arrived(client, copied, made):
            raise ResumeLater(
                f"the files of {name}/{copied.version} are not those that were sent: nothing was promoted; run the "
                "same command again, and find out who else may write there"
            )
    for tag in (GATE_TAG, GATE_ENVELOPE_TAG, VERDICT_TAG, PARENT_TAG):
        if tag in version.tags and copied.tags.get(tag) != version.tags[tag]:
            client.set_model_version_tag(name, copied.version, tag, version.tags[tag])
    return int(copied.version), str(copied.run_id)


def arrived(client: mlflow.MlflowClient, version: ModelVersion, made: Promoted) -> bool:
    """Whether the model of a version has exactly these files."""
    try:
        copy = model_of(client, Found(version, None))
    except BadInput:
        return False
    shutil.rmtree(copy.folder, ignore_errors=True)
    return dict(copy.files) == {path: sha for path, sha in made.files.items() if path.startswith(MODEL)}


def lineage(version: ModelVersion) -> dict[str, str]:
    """What `register` said of a version, by tag."""
    return {tag: version.tags[tag] for name in LINEAGE_TAGS if (tag := f"dp2o.{name}") in version.tags}


def _experiment(client: mlflow.MlflowClient, place: tuple[RegisterSettings, Path]) -> str:
    settings, root = place
    promoted = settings.model_copy(update={"experiment": f"{settings.experiment}{PROMOTED}"})
    return experiment_id(client, promoted, root)


def _is_there(client: mlflow.MlflowClient, version: ModelVersion, experiment: str) -> bool:
    """Whether a version's files are where promoters alone write: whoever may make versions can point at others."""
    if not version.run_id:
        return False
    try:
        run = client.get_run(version.run_id)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return False
        raise
    files = client.get_model_version_download_uri(version.name, version.version)
    return bool(run.info.experiment_id == experiment and files == f"{run.info.artifact_uri}/{MODEL.rstrip('/')}")


def _copied(
    client: mlflow.MlflowClient, experiment: str, version: ModelVersion, name: str, made: Promoted
) -> ModelVersion:
    source = f"{version.name}/{version.version}"
    run = client.create_run(experiment, run_name=source, tags={SOURCE_TAG: source})
    client.log_artifacts(run.info.run_id, str(made.folder))
    client.set_terminated(run.info.run_id)
    # Last: a version whose files are not all there is never seen.
    return client.create_model_version(
        name,
        f"{run.info.artifact_uri}/{MODEL.rstrip('/')}",
        run.info.run_id,
        tags=version.tags | {FILES_TAG: made.digest, SOURCE_TAG: source},
        description=version.description,
    )


def _inputs(path: Path, digest: str) -> dict[str, str]:
    """What came from outside, as the dvc.lock says that the version was registered with."""
    if not path.is_file():
        return {}
    try:
        known = Lock.parse(path.read_text(), path)
        if known.digest(("register",)) != digest:
            return {}
        return {item.path: item.md5 for item in sources(known.leading_to(paths.ALIGNED.as_posix()))}
    except (UserError, ValueError, AttributeError, KeyError, TypeError):
        return {}  # it is another's file, and only told
