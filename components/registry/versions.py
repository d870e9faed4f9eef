"""Names, aliases and tags by which model versions are known; finding one, and the gate's report that it carries."""

import mlflow
from mlflow.entities.model_registry import ModelVersion

from components.artifacts.gate_report import GateReport, read_report
from components.errors import BadInput
from components.registry.history import DEVELOPMENT

CANDIDATE, CHALLENGER, CHAMPION = "candidate", "challenger", "champion"
"""Aliases: registered last; passed the gate and waits; serves. The first two are of the development model."""
IDENTITY_TAG, HEADLINE_TAG = "dp2o.identity", "dp2o.headline"
MODEL_TAG, BASE_MODEL_TAG = "dp2o.model", "dp2o.base_model"
"""Digests of the weights, as lineage records them: the version's own, and those it was trained from."""
GATE_TAG, VERDICT_TAG, PARENT_TAG = "dp2o.gate", "dp2o.gate_verdict", "dp2o.parent"
GATE_ENVELOPE_TAG = "dp2o.gate_envelope"
"""The report again, signed by who ran the gate, where `gate.signing` asks for it."""
LINEAGE_TAGS = (
    *("model", "base_model", "identity", "git_commit", "git_dirty", "dvc_lock", "dataset", "params", "sampler"),
    *("metrics", "metric_digests", "normaliser", "headline"),
)
"""Without `dp2o.`: what `register` says of a version, and a promotion's record repeats."""
PREFIX = "models:/"


def production_name(model_name: str) -> str:
    """Registered model whose champion serves: `register.model_name` without `-dev`."""
    return model_name.removesuffix(DEVELOPMENT)


def resolve(client: mlflow.MlflowClient, version_uri: str) -> ModelVersion:
    """The version that `name@alias` or `name/version` means, with or without `models:/`.

    Raises:
        BadInput: `version_uri` has another form.
    """
    bare = version_uri.removeprefix(PREFIX)
    name, at, alias = bare.partition("@")
    if at and name and alias:
        return client.get_model_version_by_alias(name, alias)
    name, slash, version = bare.rpartition("/")
    if slash and name and version.isdecimal():
        return client.get_model_version(name, version)
    raise BadInput(f"{version_uri} names no model version; write name@alias or name/version, e.g. dp2o-sr@champion")


def find_version(client: mlflow.MlflowClient, name: str, identity: str) -> ModelVersion | None:
    """The oldest version of `name` with this identity tag."""
    found = client.search_model_versions(f"name = '{name}' and tags.`{IDENTITY_TAG}` = '{identity}'")
    return min(found, key=lambda version: int(version.version), default=None)


def alias_version(client: mlflow.MlflowClient, name: str, alias: str) -> int | None:
    """Version that has the alias; None where there is no such model or alias."""
    found = [model for model in client.search_registered_models(f"name = '{name}'") if model.name == name]
    return int(found[0].aliases[alias]) if found and alias in found[0].aliases else None


def gate_report(version: ModelVersion) -> GateReport | None:
    """The report that the version carries; None if it was never judged, or by a gate that asked otherwise.

    Raises:
        BadInput: what it carries is no report.
    """
    if GATE_TAG not in version.tags:
        return None
    place = f"tag {GATE_TAG} of {version.name}/{version.version}"
    try:
        return read_report(version.tags[GATE_TAG], place)
    except BadInput as error:
        raise BadInput(f"{error}; delete the tag and promote again") from error
