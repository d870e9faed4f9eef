"""Names by which model versions are known, and finding one. Needs no network library: flows read it as well."""

import mlflow
from mlflow.entities.model_registry import ModelVersion

from components.errors import BadInput

CANDIDATE, CHALLENGER, CHAMPION = "candidate", "challenger", "champion"
"""Aliases: registered last; passed the gate and waits; serves. The first two are of the development model."""
DEVELOPMENT = "-dev"
"""What the development model's name has beyond the production model's."""
IDENTITY_TAG, HEADLINE_TAG = "dp2o.identity", "dp2o.headline"
GATE_TAG, VERDICT_TAG, PARENT_TAG = "dp2o.gate", "dp2o.gate_verdict", "dp2o.parent"
PREFIX = "models:/"


def production_name(model_name: str) -> str:
    """Registered model whose champion serves: `register.model_name` without `-dev`."""
    return model_name.removesuffix(DEVELOPMENT)


def resolve(client: mlflow.MlflowClient, reference: str) -> ModelVersion:
    """The version that `name@alias` or `name/version` means, with or without `models:/`.

    Raises:
        BadInput: the reference has another form.
    """
    bare = reference.removeprefix(PREFIX)
    name, at, alias = bare.partition("@")
    if at and name and alias:
        return client.get_model_version_by_alias(name, alias)
    name, slash, version = bare.rpartition("/")
    if slash and name and version.isdecimal():
        return client.get_model_version(name, version)
    raise BadInput(f"{reference} names no model version; write name@alias or name/version, e.g. dp2o-sr@champion")


def find_version(client: mlflow.MlflowClient, name: str, identity: str) -> ModelVersion | None:
    """The oldest version of `name` with this identity tag."""
    found = client.search_model_versions(f"name = '{name}' and tags.`{IDENTITY_TAG}` = '{identity}'")
    return min(found, key=lambda version: int(version.version), default=None)


def alias_version(client: mlflow.MlflowClient, name: str, alias: str) -> int | None:
    """Version that has the alias; None where there is no such model or alias."""
    found = [model for model in client.search_registered_models(f"name = '{name}'") if model.name == name]
    return int(found[0].aliases[alias]) if found and alias in found[0].aliases else None
