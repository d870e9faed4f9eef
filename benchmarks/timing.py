"""Ours and its peers timed in turns, so that whatever else the machine does meets them alike."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Contender:
    """Work that can be repeated: `run` does `units` of it."""

    name: str
    units: int
    run: Callable[[], object]


@dataclass(frozen=True)
class Lap:
    """One run: wall-clock seconds, and CPU seconds over all threads of this process."""

    wall: float
    cpu: float


@dataclass(frozen=True)
class Ratio:
    """How many times faster ours is: median, least and largest over the rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Ratio":
        """From one value a round."""
        return cls(statistics.median(values), min(values), max(values))

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f} .. {self.high:.2f})"


Laps = dict[str, list[Lap]]
"""By contender, one lap a round."""


def interleaved(contenders: Sequence[Contender], rounds: int) -> Laps:
    """Laps of A B A B …, after one unmeasured lap of each."""
    laps: Laps = {contender.name: [] for contender in contenders}
    for number in range(rounds + 1):
        for contender in contenders:
            wall, cpu = time.perf_counter(), time.process_time()
            contender.run()
            lap = Lap(time.perf_counter() - wall, time.process_time() - cpu)
            if number:
                laps[contender.name].append(lap)
    return laps


@dataclass(frozen=True)
class Comparison:
    """Ours against one peer.

    Attributes:
        ours, peer: median units a wall-clock second.
        wall, cpu: ratio of the rates within a round. By CPU time it is what a machine with nothing else to do would
            show, as long as there is one thread.
    """

    name: str
    unit: str
    peer_name: str
    ours: float
    peer: float
    wall: Ratio
    cpu: Ratio
    target: float | None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def compare(
    name: str, unit: str, laps: Laps, ours: Contender, peer: Contender, target: float | None = None
) -> Comparison:
    """Rates and their ratio, round by round."""
    pairs = list(zip(laps[ours.name], laps[peer.name], strict=True))
    work = ours.units / peer.units
    return Comparison(
        name,
        unit,
        peer.name,
        statistics.median(ours.units / lap.wall for lap in laps[ours.name]),
        statistics.median(peer.units / lap.wall for lap in laps[peer.name]),
        Ratio.of([work * theirs.wall / own.wall for own, theirs in pairs]),
        Ratio.of([work * theirs.cpu / own.cpu for own, theirs in pairs]),
        target,
    )
