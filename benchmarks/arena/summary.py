"""From rows of restorations to the arena's figures. Pure functions."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.arena.recipe import BASE
from benchmarks.arena.results import Difference, Point
from benchmarks.arena.statistics import Estimate, holm, paired
from components.artifacts.tables import Row
from components.judge.bootstrap import ClusterBootstrap, Values, wins
from components.settings.gate import GateSettings

WIN = "win"
"""Figure of a restoration: 1 where its reward is higher than the base's, 1/2 where it is the same."""


@dataclass(frozen=True)
class Table:
    """Figures of all restorations that every training has, in one order.

    Attributes:
        photos: of the restorations, `[rows]`.
        base: by figure, `[rows]`.
        trainings: by composition and seed, by figure, `[rows]`.
    """

    photos: list[str]
    base: dict[str, Values]
    trainings: dict[str, dict[int, dict[str, Values]]]

    @classmethod
    def of(cls, rows: Iterable[Row], figures: Sequence[str]) -> "Table":
        """The rows of results.parquet; restorations that a training lacks are left out of all."""
        by_model: dict[tuple[str, int | None], dict[tuple[str, int], Row]] = {}
        for row in rows:
            by_model.setdefault((row["composition"], row["seed"]), {})[row["lr_id"], row["index"]] = row
        keys = sorted(set.intersection(*(set(found) for found in by_model.values())))

        def columns(found: Mapping[tuple[str, int], Row]) -> dict[str, Values]:
            return {
                name: np.array([np.nan if (value := found[key][name]) is None else value for key in keys])
                for name in figures
            }

        base = columns(by_model[BASE, None])
        trainings: dict[str, dict[int, dict[str, Values]]] = {}
        for (name, seed), found in by_model.items():
            if seed is not None:
                own = columns(found)
                trainings.setdefault(name, {})[seed] = own | {WIN: wins(base["reward"], own["reward"])}
        half = np.full(len(keys), 0.5)
        photos = [str(by_model[BASE, None][key]["photo"]) for key in keys]
        return cls(photos, base | {WIN: half}, trainings)

    def means(self, name: str) -> dict[str, float]:
        """Mean of each figure over a composition's trainings, of those that are known."""
        return _means(list(self.trainings[name].values()))

    def base_means(self) -> dict[str, float]:
        """The same of the base."""
        return _means([self.base])


def _means(trainings: Sequence[Mapping[str, Values]]) -> dict[str, float]:
    stacked = {name: np.stack([one[name] for one in trainings]) for name in trainings[0]}
    return {name: float(values.mean()) for name, values in stacked.items() if np.isfinite(values).all()}


@dataclass(frozen=True)
class Comparisons:
    """Compares trainings of a table.

    Attributes:
        bootstrap: of the table's photos.
        confidence: of the intervals.
    """

    table: Table
    bootstrap: ClusterBootstrap
    confidence: float

    def from_base(self, name: str, figure: str) -> Estimate | None:
        """A composition less the base."""
        runs = [one[figure] for _, one in sorted(self.table.trainings[name].items())]
        return paired(runs, [self.table.base[figure]] * len(runs), self.bootstrap, self.confidence)

    def between(self, left: str, right: str, figure: str = "reward") -> Estimate | None:
        """One composition less another, over the seeds that both have."""
        first, second = self.table.trainings[left], self.table.trainings[right]
        seeds = sorted(first.keys() & second.keys())
        return paired(
            [first[seed][figure] for seed in seeds],
            [second[seed][figure] for seed in seeds],
            self.bootstrap,
            self.confidence,
        )

    def column(self, found: Mapping[Any, Estimate | None]) -> dict[Any, Difference]:
        """Estimates that belong together, their p-values adjusted for their number; those that are None left out."""
        known = {name: one for name, one in found.items() if one is not None}
        adjusted = holm({name: one.p for name, one in known.items()})
        return {name: difference(one, adjusted[name], self.confidence) for name, one in known.items()}

    def matrix(self, names: Sequence[str]) -> dict[str, dict[str, Difference]]:
        """Each pair once tested, and shown from both sides."""
        pairs: dict[tuple[str, str], Estimate | None] = {
            (left, right): self.between(left, right) for n, left in enumerate(names) for right in names[n + 1 :]
        }
        result: dict[str, dict[str, Difference]] = {name: {} for name in names}
        for (left, right), one in self.column(pairs).items():
            result[left][right] = one
            result[right][left] = one.model_copy(
                update={"mean": -one.mean, "ci_low": -one.ci_high, "ci_high": -one.ci_low}
            )
        return result


def difference(one: Estimate, adjusted: float, confidence: float) -> Difference:
    """As the document has it."""
    return Difference(
        mean=one.mean,
        ci_low=one.low,
        ci_high=one.high,
        p=one.p,
        p_adjusted=adjusted,
        detectable=one.detectable,
        bound=one.bound,
        significant=adjusted < 1.0 - confidence,
    )


def broken(figures: Mapping[str, float], base: Mapping[str, float], gate: GateSettings) -> list[str]:
    """What is beyond the gate's limits, as means against the base."""
    risen = {name: (figures[name] - base[name], limit.rise) for name, limit in gate.guards.items() if name in figures}
    fallen = {name: (base[name] - figures[name], one.drop) for name, one in gate.fidelity.items() if name in figures}
    moved: list[tuple[str, tuple[float, float]]] = [*risen.items(), *fallen.items()]
    return [name for name, (found, limit) in moved if found > limit]


def averaged(curves: Sequence[Sequence[Mapping[str, float]]], before: int, training: float) -> list[Point]:
    """Mean curve over trainings of one length; `before` and `training` are the passes of the data and of all steps.

    Trainings of one composition may differ by a step where their pairs do: points are matched by their place.
    """
    if not curves:
        return []
    points = []
    for place in range(min(len(one) for one in curves)):
        rewards = [one[place]["reward"] for one in curves]
        share = float(np.mean([one[place]["step"] / one[-1]["step"] for one in curves]))
        points.append(
            Point(
                passes=before + share * training,
                reward=float(np.mean(rewards)),
                low=min(rewards),
                high=max(rewards),
            )
        )
    return points
