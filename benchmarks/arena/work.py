"""Who does what: a list of trainings that any number of processes divide between them by locks."""

import csv
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.arena.judge import Bench
from benchmarks.arena.study import Study, Training, claimed, read_json

logger = logging.getLogger("dp2o.arena")


@dataclass(frozen=True)
class Piece:
    """A training, and its judgement where it is asked for.

    Attributes:
        training: known once what it waits for is done; None until then.
        judged: whether the test split is restored too.
    """

    training: Callable[[], Training | None]
    judged: bool


def curve(root: Path) -> list[dict[str, float]]:
    """Rows of a training's reports/validation.csv."""
    path = root / "reports/validation.csv"
    if not path.is_file():
        return []
    with path.open() as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def validated(training: Training, checkpoint: str) -> float | None:
    """Validation reward of the checkpoint that would be judged; None where the training ended early.

    `best` is the best of those within `train.limits`, as the training chooses it.
    """
    rows = curve(training.root)
    if not rows:
        return None
    if checkpoint == "last":
        return rows[-1]["reward"]
    return max(row["reward"] for row in rows if row["within_limits"])


@dataclass(frozen=True)
class Plan:
    """The trainings of a study, and the learning rates that their search finds."""

    study: Study

    def tries(self, name: str) -> list[Training]:
        """The search's trainings of a composition."""
        search = self.study.recipe.search
        return [self.study.training(name, factor, search.seed) for factor in search.factors]

    def rewards(self, name: str) -> dict[float, float | None] | None:
        """Validation reward by factor of the learning rate, None where it diverged; None while a try is not done."""
        tries = self.tries(name)
        if any(one.trained is None for one in tries):
            return None
        return {one.factor: validated(one, self.study.recipe.checkpoint) for one in tries}

    def factor(self, name: str) -> float | None:
        """The factor with the highest validation reward, of equals the least; with one factor that; None until known.

        Where all tries diverged it is the least of them.
        """
        factors = self.study.recipe.search.factors
        if len(factors) == 1:
            return factors[0]
        rewards = self.rewards(name)
        return None if rewards is None else best_factor(rewards)

    def final(self, name: str, seed: int) -> Training | None:
        """The judged training of a seed; None until its learning rate is known."""
        factor = self.factor(name)
        return None if factor is None else self.study.training(name, factor, seed)

    def pieces(self) -> Iterator[Piece]:
        """All work: searches first, then seed after seed, so that whoever looks early finds all compositions."""
        recipe = self.study.recipe

        def search(name: str, factor: float) -> Piece:
            return Piece(lambda: self.study.training(name, factor, recipe.search.seed), judged=False)

        def final(name: str, seed: int) -> Piece:
            return Piece(lambda: self.final(name, seed), judged=True)

        if len(recipe.search.factors) > 1:
            yield from (search(name, factor) for name in recipe.compositions for factor in recipe.search.factors)
        yield from (final(name, seed) for seed in recipe.seeds for name in recipe.compositions)


def best_factor(rewards: dict[float, float | None]) -> float:
    """See `Plan.factor`. Pure."""
    known = {factor: reward for factor, reward in rewards.items() if reward is not None}
    return min(known, key=lambda factor: (-known[factor], factor)) if known else min(rewards)


def done(piece: Piece) -> bool:
    """Whether nothing of a piece is left; a training that ended early is not judged."""
    training = piece.training()
    if training is None or (trained := training.trained) is None:
        return False
    return not piece.judged or trained["failure"] is not None or (training.root / "judged.json").is_file()


def attempt(piece: Piece, study: Study, bench: Bench, *, wait: bool) -> bool:
    """Do a piece, unless it waits for others' work, or another process is at it; whether it was done here."""
    training = piece.training()
    if training is None:
        return False
    with claimed(training.root, wait=wait) as ours:
        if not ours or done(piece):
            return False
        found = study.train(training)
        if piece.judged and found["failure"] is None:
            bench.judged(training)
        return True


def work(pieces: Sequence[Piece], study: Study, bench: Bench, each: Callable[[], object]) -> None:
    """Do what is left; what other processes are at is waited for at last.

    Args:
        pieces: all work, in its order.
        study, bench: that train and judge.
        each: called after every piece that was done here.
    """
    left = [piece for piece in pieces if not done(piece)]
    while left:
        logger.info("%d of %d pieces are left", len(left), len(pieces))
        moved = False
        for piece in left:
            if attempt(piece, study, bench, wait=False):
                moved = True
                each()
        left = [piece for piece in left if not done(piece)]
        if left and not moved:
            waiting = next(piece for piece in left if piece.training() is not None)
            if attempt(waiting, study, bench, wait=True):
                each()
            left = [piece for piece in left if not done(piece)]


def failure_of(training: Training) -> str | None:
    """Why a training ended early, if it did."""
    found = read_json(training.root / "trained.json")
    return None if found is None else found["failure"]
