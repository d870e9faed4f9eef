"""Registered model versions: list, show, and load one to restore pictures with."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from components.errors import BadInput
from components.registry.tracking import connected
from components.registry.versions import HEADLINE_TAG, IDENTITY_TAG, PREFIX, resolve
from components.settings import RegisterSettings
from components.upscale.upscaler import Upscaler


@dataclass(frozen=True)
class Version:
    """One registered version, as `dp2o models` shows it."""

    model: str
    version: int
    aliases: list[str]
    created_ms: int
    run_id: str
    headline: str
    tags: dict[str, str]

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def list_versions(settings: RegisterSettings, root: Path) -> list[Version]:
    """All versions that this project registered, by model, newest first."""
    with connected(settings, root) as client:
        return [
            described(version, model.aliases)
            for model in sorted(client.search_registered_models(), key=lambda model: str(model.name))
            for version in client.search_model_versions(f"name = '{model.name}'", order_by=["version_number DESC"])
            if IDENTITY_TAG in version.tags
        ]


def show_version(settings: RegisterSettings, root: Path, version_uri: str) -> tuple[Version, str]:
    """Version and model card of `name@alias` or `name/version`, with or without `models:/`.

    Raises:
        BadInput: the version_uri has another form, or there is no such version.
    """
    with connected(settings, root) as client:
        found = resolve(client, version_uri)
        return described(found, client.get_registered_model(found.name).aliases), found.description or ""


def resolve_ours(client: MlflowClient, version_uri: str) -> ModelVersion:
    """The version of `name@alias` or `name/version`, with or without `models:/`.

    Raises:
        BadInput: there is no such version, or it is none of this project's.
    """
    found = resolve(client, version_uri)
    if IDENTITY_TAG not in found.tags:
        raise BadInput(f"{version_uri} was not registered by `dp2o register`; `dp2o models list` shows those that were")
    return found


def load_upscaler(
    settings: RegisterSettings, root: Path, version_uri: str, tiling: Mapping[str, int], device: str, base: str = ""
) -> Upscaler:
    """The upscaler of a registered version, sampled as it was registered; `device` as in params.yaml.

    `tiling` are the attributes of `Tiling` to set; the others are as registered. `base` is where a ControlNet's frozen
    model is here; as registered where it is empty.

    Raises:
        BadInput: there is no such version, or it is none of this project's.
    """
    with connected(settings, root) as client:
        found = resolve_ours(client, version_uri)
        config = {"device": device, "base": base, **tiling}
        loaded = mlflow.pyfunc.load_model(f"{PREFIX}{found.name}/{found.version}", model_config=config)
    upscaler: Upscaler = loaded.unwrap_python_model().upscaler
    return upscaler


def described(version: ModelVersion, aliases: dict[str, str]) -> Version:
    """As it is shown; `aliases` of its model, by alias the version's number."""
    number = int(version.version)
    return Version(
        model=version.name,
        version=number,
        aliases=sorted(alias for alias, target in aliases.items() if int(target) == number),
        created_ms=version.creation_timestamp,
        run_id=version.run_id,
        headline=version.tags.get(HEADLINE_TAG, ""),
        tags=dict(version.tags),
    )
