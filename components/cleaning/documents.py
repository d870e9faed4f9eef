"""Documents of flows in a store: tasks, results and logs of the processes that they launched, objects set aside."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from components.cleaning.inventory import Entry
from components.cleaning.places import File, ObjectPlace
from components.cleaning.world import Named, World, md5_name

PARTS = ".parts/"
"""In the path of rows that a stage's own parts published, which no dvc.lock has."""


@dataclass
class Documents(Named):
    """Below `dp2o/` of every place that flows have used. Leases are no entries, so that they stay."""

    world: World
    name: str = "results"
    shared: bool = True

    def entries(self) -> Iterator[Entry]:
        """A result stays as long as all stays that it says was made: a run that comes again then finds it."""
        for place in self.world.places:
            for file in place.below("dp2o/results"):
                yield self._result(place, file)
            for file in place.below("dp2o/tasks"):
                names = self._of_task(place, file) if file.changed <= self.world.oldest else frozenset()
                yield self._entry(place, file, "tasks", "its results are free, too", names=names)
            for file in place.below("dp2o/runs"):
                yield self._entry(place, file, "logs of processes", "only people read it")
            for file in place.below("dp2o/corrupt"):
                yield self._entry(place, file, "damaged objects, set aside", "only people look at it")

    def remove(self, entries: Sequence[Entry]) -> Iterator[Entry]:
        """One after the other."""
        by_base = {place.base: place for place in self.world.places}
        for entry in entries:
            base, _, path = entry.key.partition("|")
            by_base[base].remove(path)
            yield entry

    def _result(self, place: ObjectPlace, file: File) -> Entry:
        made = self._made(place, file)
        recorded = frozenset(md5_name(md5) for path, md5 in made.items() if PARTS not in path)
        return self._entry(
            place,
            file,
            "results of processes",
            "what it says was made is in no dvc.lock that is kept",
            refers=frozenset({_task_of(file.path), *map(md5_name, made.values())}),
            all_of=recorded,
        )

    def _made(self, place: ObjectPlace, file: File) -> dict[str, str]:
        """md5 by path of what a result says; nothing of a damaged one, which counts as absent for everybody."""
        try:
            outputs = json.loads(place.content(file.path) or b"{}")["outputs"]
            return {str(path): str(made[0]) for path, made in outputs.items()}
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            return {}

    def _of_task(self, place: ObjectPlace, file: File) -> frozenset[str]:
        from components.task.document import Task  # noqa: PLC0415  # settings, which take a moment

        try:
            task = Task.model_validate_json(place.content(file.path) or b"{}")
        except ValueError:
            return frozenset()
        return frozenset({f"task:{task.stage}-{task.digest}"})

    def _entry(
        self,
        place: ObjectPlace,
        file: File,
        group: str,
        why: str,
        names: frozenset[str] = frozenset(),
        refers: frozenset[str] = frozenset(),
        all_of: frozenset[str] = frozenset(),
    ) -> Entry:
        key = f"{place.base}|{file.path}"
        return Entry(self.name, key, f"{place.name}: {group}", why, file.changed, names, refers, all_of, file.size)


def _task_of(path: str) -> str:
    """Name of the task of a result, by its path `…/results/<stage>-<digest>/<part>.json`."""
    return f"task:{path.rsplit('/', 2)[-2]}"
