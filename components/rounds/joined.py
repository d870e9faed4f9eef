"""Curves and summary of several rounds as those of one training."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from components.artifacts import paths
from components.artifacts.training import TrainingSummary

STEP = "step"


@dataclass(frozen=True)
class Round:
    """A finished round.

    Attributes:
        folder: where its stages wrote.
        summary: of its training.
        validation: rows of reports/validation.csv.
    """

    folder: Path
    summary: TrainingSummary
    validation: list[dict[str, float]]

    @classmethod
    def read(cls, folder: Path) -> "Round":
        """The round in `folder`.

        Raises:
            BadInput: there is none, or it is damaged.
        """
        rows = _rows(folder / paths.VALIDATION_CURVE)
        validation = [{name: float(value) for name, value in row.items()} for row in rows]
        return cls(folder, TrainingSummary.read(folder), validation)

    @property
    def steps(self) -> int:
        """Optimiser steps."""
        return self.summary.steps


@dataclass(frozen=True)
class Best:
    """A validation: its round from 0, its step in it, and its reward."""

    round: int
    step: int
    reward: float


def best_of(rounds: Sequence[Round]) -> Best:
    """The best validation of all rounds, of equals the first; of each round the one that its training kept.

    A later round may have kept one beyond train.limits, for want of another; it does not count. The first round has
    the base, which is always within them.
    """
    kept = []
    for number, one in enumerate(rounds):
        row = next(row for row in one.validation if row[STEP] == one.summary.best_step)
        if row["within_limits"]:
            kept.append(Best(number, one.summary.best_step, row["reward"]))
    return max(kept, key=lambda best: best.reward)


def summary_of(rounds: Sequence[Round]) -> TrainingSummary:
    """Of all rounds, with steps counted through."""
    best = best_of(rounds)
    return TrainingSummary(
        reference_digest=rounds[0].summary.reference_digest,
        steps=sum(one.steps for one in rounds),
        best_step=sum(one.steps for one in rounds[: best.round]) + best.step,
        best_validation_reward=best.reward,
        base_validation_reward=rounds[0].summary.base_validation_reward,
        last_validation_reward=rounds[-1].summary.last_validation_reward,
    )


def joined(rounds: Sequence[Round], name: Path) -> str:
    """CSV text of the rounds' files `name`, with steps counted through and a last column `round`, from 1.

    A later round's validation of step 0 is of the policy that the round before ended with, and is left out.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    before = 0
    for number, one in enumerate(rounds, 1):
        rows = _rows(one.folder / name)
        if number == 1:
            writer.writerow([*rows[0], "round"])
        for row in rows:
            if number == 1 or int(row[STEP]) > 0:
                writer.writerow([*(row | {STEP: str(int(row[STEP]) + before)}).values(), number])
        before += one.steps
    return buffer.getvalue()


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
