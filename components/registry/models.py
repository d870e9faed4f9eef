"""Registered model versions: list, show, and load one to restore pictures with."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mlflow.entities.model_registry import ModelVersion

from components.registry.fetch import Copy, find, model_of
from components.registry.tracking import connected
from components.registry.trust import trust_of
from components.registry.versions import HEADLINE_TAG, IDENTITY_TAG, resolve
from components.serving.build import upscaler_of
from components.serving.package import Package
from components.settings import RegisterSettings, Settings
from components.upscale.upscaler import Upscaler

_MODELS = {"backbone": ("base", "restorer"), "prompt": ("model",)}
"""Stored settings that name models beside the version's own files, by block."""


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


def load_upscaler(
    settings: Settings, root: Path, version_uri: str, tiling: Mapping[str, int], base: str = ""
) -> Upscaler:
    """The upscaler of a registered version, sampled as it was registered; on `run.device` of the settings.

    Built of its weights and settings alone, by the code that is installed here, after signature and digests have been
    checked. `tiling` are the attributes of `Tiling` to set; the others are as registered. `base` is where a
    ControlNet's frozen model is here; as registered where it is empty.

    Raises:
        BadInput: there is no such version, it is none of this project's, or it is not what was promoted.
    """
    with connected(settings.register_, root) as client:
        found = find(client, settings.register_, trust_of(settings.gate, root), version_uri)
        return built(settings, root, model_of(client, found), tiling, base)


def checked_package(settings: Settings, root: Path, version_uri: str) -> tuple[str, Package]:
    """Weights and settings of a version in a private folder, checked as `load_upscaler` does; and who signed for them.

    Raises:
        BadInput: as `load_upscaler`.
    """
    with connected(settings.register_, root) as client:
        found = find(client, settings.register_, trust_of(settings.gate, root), version_uri)
        package = model_of(client, found).package
    package = replace(package, config=_found_here(package.config, settings, root))
    if found.record is None:
        return f"{found.name}, which no record of a promotion names the files of", package
    signer = f"signed with the key of {found.record.signer}" if found.record.signer else "not signed"
    return f"{found.name}, as record {found.record.number} has it, {signer}", package


def built(
    settings: Settings, root: Path, copy: Copy, tiling: Mapping[str, int] = MappingProxyType({}), base: str = ""
) -> Upscaler:
    """The upscaler of files that were checked; see `load_upscaler`."""
    package = copy.package
    config = _found_here(package.config, settings, root)
    return upscaler_of(package.backbone, config | {"device": settings.run.device, "base": base, **tiling})


def _found_here(config: Mapping[str, Any], settings: Settings, root: Path) -> dict[str, Any]:
    """Stored settings, with the models that these settings name in the place of those that are not here any more.

    What a pod or a flow's clone registers names paths of a folder that was gone with it. That a base model is the same
    is told by the digest of all weights.
    """
    own = {"backbone": settings.backbone.located(root), "prompt": settings.prepare.prompt.located(root)}
    found = dict(config)
    for block, names in _MODELS.items():
        stored, here = found.get(block), own[block].model_dump(mode="json")
        if isinstance(stored, dict):
            moved = {name: here[name] for name in names if here.get(name) and _is_gone(stored.get(name))}
            found[block] = stored | moved
    return found


def _is_gone(path: Any) -> bool:
    return isinstance(path, str) and Path(path).is_absolute() and not Path(path).exists()


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
