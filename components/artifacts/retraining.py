"""The documents of a retraining: what came in, whether it differs, what training starts from, what was trained on."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import ConfigDict

from components.artifacts import paths
from components.artifacts.documents import Document, Section


class IntakeReport(Document):
    """What a look at the new images came to; all but `listed` count new objects only.

    Attributes:
        listed: objects under the prefix.
        accepted: names of the pictures taken in, by pixel digest.
        quarantined: objects set aside, by reason.
        waiting: too young, or beyond intake.max_images; the next run takes them.
        gone: removed or replaced while the run was looking.
        shard: tar in data/incoming that holds the accepted; empty where there are none.
    """

    path: ClassVar = paths.INTAKE_REPORT
    made_by: ClassVar = "intake"

    source: str
    listed: int
    accepted: tuple[str, ...]
    quarantined: dict[str, int]
    waiting: int
    gone: int
    shard: str
    dry_run: bool

    @property
    def text(self) -> str:
        """One sentence."""
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(self.quarantined.items()))
        aside = sum(self.quarantined.values())
        parts = [
            f"{self.listed} objects under {self.source}",
            f"{len(self.accepted)} new pictures" if self.accepted else "nothing new",
            *([f"{aside} set aside ({reasons})"] if aside else []),
            *([f"{self.waiting} wait for the next run"] if self.waiting else []),
            *([f"{self.gone} gone meanwhile"] if self.gone else []),
        ]
        return "; ".join(parts) + (" (dry run: nothing was written)" if self.dry_run else "")


@dataclass(frozen=True)
class Comparison:
    """One statistic of the training set and of what is new.

    Attributes:
        verdict: `same`; `drift`; `unknown`, which is a reason to look, not a "no"; `too few` new pictures to say.
        psi, ks, p: None where they are not defined.
        edges: of the PSI's bins, without the two infinite ends.
        expected, found: fractions of both in those bins.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    name: str
    verdict: Literal["same", "drift", "unknown", "too few"]
    reason: str
    training_set: int
    news: int
    psi: float | None = None
    ks: float | None = None
    p: float | None = None
    edges: tuple[float, ...] = ()
    expected: tuple[float, ...] = ()
    found: tuple[float, ...] = ()


@dataclass(frozen=True)
class Decision:
    """`reasons` for it, each a sentence; `text` explains the whole, also where the answer is no."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    retrain: bool
    new: int
    reasons: tuple[str, ...]
    text: str


class DriftReport(Document):
    """The decision and what it rests on.

    Attributes:
        shards: of data/incoming that no training has seen.
    """

    path: ClassVar = paths.DRIFT_REPORT
    made_by: ClassVar = "drift"

    decision: Decision
    comparisons: tuple[Comparison, ...]
    shards: tuple[str, ...]


class ChampionReport(Document):
    """Which model lies in models/champion.

    Attributes:
        champion: `name/version`; empty where there is none yet, and training starts from the settings' own backbone.
        digest: of its weights, likewise.
    """

    path: ClassVar = paths.CHAMPION_REPORT
    made_by: ClassVar = "champion"

    champion: str
    digest: str


class TrainingAttempt(Section):
    """A training that has begun: on which new shards, and from which champion (empty: the settings' own backbone)."""

    shards: tuple[str, ...]
    champion: str


class TrainedShards(Document):
    """data/retrain.json, which is in git.

    Attributes:
        shards: of data/incoming that a finished retraining had in its dataset.
        attempt: the one that has begun and not finished.
    """

    path: ClassVar = paths.TRAINED_SHARDS
    made_by: ClassVar = "retrain"
    way_out: ClassVar = f"restore it with `git checkout {paths.TRAINED_SHARDS}`"

    shards: tuple[str, ...] = ()
    attempt: TrainingAttempt | None = None
