"""The stage `train` with several rounds: each samples from the policy of the one before, scores, pairs and trains.

A round is the stages generate, score, pair and train, in a folder of its own below run.cache, in whose files they meet.
Each finds finished work in the caches: who was stopped at any place runs all rounds again, and what was done costs
look-ups alone. The frozen reference is the base in every round, and the first round is the project's own candidates
and pairs.
"""

import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from components.artifacts import paths
from components.artifacts.shards import Shard
from components.errors import BadInput
from components.generate import stage as generate
from components.pair import stage as pair
from components.pipeline.status import ROUND_NOTE
from components.rounds.joined import Round, best_of, joined, summary_of
from components.score import stage as score
from components.settings import Settings
from components.storage.publish import atomic_folder, write_json, write_text
from components.train import stage as train

logger = logging.getLogger("dp2o.train")

FOLDER = "rounds"
"""Below run.cache."""
FIRST = (paths.DATASET, paths.DATASET_ROWS, paths.CANDIDATES, paths.CANDIDATE_ROWS, paths.PAIRS)
"""What the first round takes from the project."""
LATER = (paths.DATASET, paths.DATASET_ROWS)
"""What later rounds take from it."""


def run(settings: Settings, root: Path, shard: Shard | None = None) -> None:
    """Publish what `train` publishes, of all rounds: the last policy, the best of all validations, and joined curves.

    Raises:
        BadInput: a shard or several processes are asked for, or a stage raises it.
        ResumeLater: SIGTERM or SIGINT came.
    """
    if settings.train.rounds == 1:
        train.run(settings, root, shard)
        return
    if shard is not None or int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise BadInput(
            f"train.rounds {settings.train.rounds} samples and scores between trainings, in one process: start train "
            "without --shard and without torchrun or accelerate launch, or set train.rounds to 1"
        )
    own = _own(settings, root)
    folder = settings.run.cache_folder(root).path / FOLDER
    rounds: list[Round] = []
    while len(rounds) < settings.train.rounds:
        place = folder / str(len(rounds) + 1)
        rounds.append(_round(own, root, place, rounds, settings.train.rounds))
        if rounds[-1].steps < settings.train.steps:
            logger.warning(
                "train.winner_stop ended round %d of %d: no further one begins", len(rounds), settings.train.rounds
            )
            break
    _publish(rounds, root)


def _round(own: Settings, root: Path, place: Path, before: Sequence[Round], of: int) -> Round:
    """One more round, in its folder `place`."""
    number = len(before) + 1
    name = f"round {number} of {of}"
    _link(root, place, LATER if before else FIRST)
    start = train.BASE
    if before:
        policy, steps = before[-1].folder / paths.LAST, sum(one.steps for one in before)
        with _told(root, f"{name}: candidates of the policy of round {number - 1}"):
            generate.run(own, place, sampled=generate.Sampled(policy, number))
        with _told(root, f"{name}: scores"):
            score.run(own, place)
        with _told(root, f"{name}: pairs"):
            pair.run(own, place)
        start = train.Start(number, policy, steps, before[0].validation[0])
    with _told(root, f"{name}: training"):
        train.run(own, place, start=start)
    return Round.read(place)


def _own(settings: Settings, root: Path) -> Settings:
    """The settings of a round's folder: paths are the project's, and nothing is made that no round reads."""
    changed = {
        "backbone": settings.backbone.located(root),
        "run": settings.run.model_copy(update={"cache": settings.run.cache_folder(root).path.absolute()}),
        "generate": settings.generate.model_copy(update={"splits": ["align"]}),
        "score": settings.score.model_copy(update={"held_out": []}),
        "train": settings.train.model_copy(update={"rounds": 1}),
    }
    return settings.model_copy(update=changed)


def _link(root: Path, place: Path, names: Sequence[Path]) -> None:
    """Let a round's folder have files of the project."""
    for name in names:
        link = place / name
        link.parent.mkdir(parents=True, exist_ok=True)
        temporary = link.with_name(f".{link.name}.link")
        temporary.unlink(missing_ok=True)
        temporary.symlink_to((root / name).absolute())
        temporary.replace(link)


@contextmanager
def _told(root: Path, doing: str) -> Iterator[None]:
    """While it lasts, `dp2o status` says what is done: in DVC's folder of temporary files, where its locks are."""
    logger.info("%s", doing)
    note = root / ROUND_NOTE
    if not note.parent.is_dir():  # no project of DVC's
        yield
        return
    write_json(note, {"pid": os.getpid(), "doing": doing})
    try:
        yield
    finally:
        note.unlink(missing_ok=True)


def _publish(rounds: Sequence[Round], root: Path) -> None:
    """What `train` publishes, of all rounds together."""
    best = best_of(rounds)
    with atomic_folder(root / paths.ALIGNED) as temporary:
        shutil.copytree(rounds[-1].folder / paths.LAST, temporary / paths.LAST.name)
        shutil.copytree(rounds[best.round].folder / paths.BEST, temporary / paths.BEST.name)
    summary_of(rounds).write(root)
    for name in (paths.THROUGHPUT, paths.TRAINING_CURVE, paths.VALIDATION_CURVE):
        write_text(root / name, joined(rounds, name))
    for number, one in enumerate(rounds, 1):
        last = one.validation[-1]
        logger.info("round %d: validation reward %.4f -> %.4f", number, one.validation[0]["reward"], last["reward"])
    logger.info("best of all rounds %.4f, step %d of round %d", best.reward, best.step, best.round + 1)
