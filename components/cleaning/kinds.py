"""The table of the places where this project keeps things: a place that is new joins with one row."""

from __future__ import annotations

from collections.abc import Callable

from components.cleaning.documents import Documents
from components.cleaning.launches import Launches
from components.cleaning.objects import Objects
from components.cleaning.revisions import Revisions
from components.cleaning.versions import Versions
from components.cleaning.work_cache import WorkCache
from components.cleaning.world import Kind, World

GIT = "git"
"""The row that only refers."""
KINDS: dict[str, Callable[[World, Revisions], Kind]] = {
    GIT: lambda world, git: git,
    "mlflow": Versions,
    "results": lambda world, git: Documents(world),
    "dvc-cache": lambda world, git: Objects(world, "dvc-cache", shared=False),
    "dvc-remote": lambda world, git: Objects(world, "dvc-remote", shared=True),
    "cache": lambda world, git: WorkCache(world, "cache", shared=False),
    "shared-cache": lambda world, git: WorkCache(world, "shared-cache", shared=True),
    "logs": lambda world, git: Launches(world),
}
"""By name; what refers before what is referred to."""
REMOVABLE = tuple(name for name in KINDS if name != GIT)


def all_kinds(world: World) -> list[Kind]:
    """All rows for one look."""
    git = Revisions(world)
    return [make(world, git) for make in KINDS.values()]
