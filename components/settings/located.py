"""What must hold between settings and the project's folder: the model's own card, and folders that must be apart."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from components.artifacts import paths
from components.errors import BadInput
from components.settings.families import family_of

if TYPE_CHECKING:
    from components.settings.project import Settings

OUTPUTS = (paths.DATASET, paths.CANDIDATES, paths.EVALUATION_PICTURES.parent, paths.ALIGNED, paths.PAGE.parent)
"""Folders that stages write, and make anew."""


def check_located(settings: "Settings", root: Path) -> None:
    """Refuse what the project in `root` shows to be impossible, as far as that needs no photo and no network.

    Raises:
        BadInput: with all there is.
    """
    found = [*model_problems(settings, root), *_folders_are_apart(settings, root)]
    if found:
        raise BadInput("\n".join(found))


def model_problems(settings: "Settings", root: Path) -> Iterator[str]:
    """What the model's card contradicts; nothing where there is no model yet."""
    located = settings.backbone.located(root)
    scale = located.stored_scale()
    if scale not in (None, settings.prepare.scale):
        yield (
            f"prepare.scale is {settings.prepare.scale}, and the model of backbone.path {settings.backbone.path} "
            f"enlarges {scale} times: set prepare.scale to {scale}, or take a model of that scale"
        )
    levels_of = family_of(located.family).levels if located.loaded else None
    if levels_of is None or scale is None:
        return
    try:
        levels = levels_of(located)
    except BadInput as error:
        yield str(error)
        return
    low, high = settings.train.t_min, settings.train.t_max
    if settings.train.t_distribution == "sampler" and not any(low <= level <= high for level in levels):
        yield (
            f"train.t_min {low} to train.t_max {high} holds none of the sampler's noise levels "
            f"{[round(level, 3) for level in levels]}: widen the range"
        )


def _folders_are_apart(settings: "Settings", root: Path) -> Iterator[str]:
    """DVC would see a stage depend on what it writes, and a stage would remove what it reads."""
    prepare, cache = settings.prepare, settings.run.cache
    outputs = {str(name): (root / name).resolve() for name in OUTPUTS}
    if any((root / cache).resolve() in (path, *path.parents) for path in (root.resolve(), *outputs.values())) or any(
        path in (root / cache).resolve().parents for path in outputs.values()
    ):
        yield f"run.cache is {cache}, which stages write, or which holds what they write: name another folder"
    written = outputs | {f"run.cache {cache}": (root / cache).resolve()}
    for setting, folder in prepare.folders:
        place = (root / folder).resolve()
        clash = [name for name, path in written.items() if place in (path, *path.parents) or path in place.parents]
        if clash:
            yield (
                f"prepare.{setting} names {folder}, and stages write {clash[0]}: the two must lie apart; name a "
                "folder with nothing but photos"
            )
