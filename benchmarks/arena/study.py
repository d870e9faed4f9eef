"""The arena's folder: what all compositions share, and a folder for each training; any number of processes use it."""

import fcntl
import json
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import yaml
from pydantic import ValidationError

from benchmarks.arena.budget import Passes, before_training, of_steps, steps_within
from benchmarks.arena.recipe import BASE, Composition, Recipe, Tree, merged
from components.artifacts import tables
from components.artifacts.training import TrainingSummary
from components.errors import BadInput, Diverged
from components.generate import stage as generate
from components.pair import stage as pair
from components.prepare import stage as prepare
from components.score import stage as score
from components.settings import Settings
from components.settings.prepare import PHOTO_SETTINGS
from components.storage import digests
from components.storage.hub import source
from components.storage.publish import write_json
from components.train import stage as train
from components.train.groups import groups_of

logger = logging.getLogger("dp2o.arena")

MADE = ("dataset", "dataset.parquet", "candidates", "candidates.parquet", "scores.parquet")
"""What all trainings read, made once."""


@contextmanager
def claimed(folder: Path, *, wait: bool) -> Iterator[bool]:
    """Whether this process alone works in `folder`; the lock ends with the process, however that ends.

    Args:
        folder: made if it does not exist.
        wait: for the process that works there, instead of saying no.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True


@dataclass(frozen=True)
class Training:
    """One training: whose, how fast, from which seed, how long.

    Attributes:
        settings: with which it runs, its number of steps among them.
        passes: that it takes, its data's among them.
        root: its folder.
    """

    name: str
    factor: float
    seed: int
    settings: Settings
    passes: Passes
    root: Path

    @property
    def steps(self) -> int:
        """Optimiser steps of the finished training, which train.winner_stop may end early."""
        return int((self.trained or {}).get("steps", self.settings.train.steps))

    @property
    def spent(self) -> Passes:
        """The passes of these steps, and of its data."""
        taken = (self.trained or {}).get("training_passes", self.passes.training)
        return replace(self.passes, training=int(taken))

    @property
    def trained(self) -> Tree | None:
        """What is known of the finished training: seconds, or why it ended early; None while it is not done."""
        return read_json(self.root / "trained.json")

    def __str__(self) -> str:
        return f"{self.name}, learning rate x {self.factor:g}, seed {self.seed}"


def read_json(path: Path) -> Tree | None:
    """A JSON object that this package wrote; None where there is none."""
    return dict(json.loads(path.read_text())) if path.is_file() else None


@dataclass(frozen=True)
class Study:
    """The recipe, its folder, and the settings that all share.

    Attributes:
        recipe: compositions and budget.
        out: folder of everything made here.
        values: params.yaml with the recipe's settings merged in, paths made absolute.
    """

    recipe: Recipe
    out: Path
    values: Tree
    _known: dict[tuple[str, float, int], Training] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def load(cls, project: Path, recipe: Recipe, out: Path) -> "Study":
        """Read params.yaml and merge the recipe's settings.

        Raises:
            BadInput: there is no params.yaml.
        """
        params = project / "params.yaml"
        if not params.is_file():
            raise BadInput(f"{params} does not exist: name the project's folder with --project")
        values = merged(yaml.safe_load(params.read_text()), recipe.settings)
        for setting in PHOTO_SETTINGS:
            folders = values["prepare"].get(setting, [])
            values["prepare"][setting] = [str((project / folder).resolve()) for folder in folders]
        values["prepare"]["pairs"] = [
            {side: str((project / folder).resolve()) for side, folder in both.items()}
            for both in values["prepare"].get("pairs") or []
        ]
        root, backbone, prompt = project.resolve(), values["backbone"], values["prepare"].get("prompt") or {}
        for block, key in ((backbone, "path"), (backbone, "base"), (prompt, "model")):
            if block.get(key):
                block[key] = str(source(Path(block[key]), root))
        if str(backbone.get("restorer", "")).endswith(".param"):
            backbone["restorer"] = str(root / backbone["restorer"])
        values["run"]["cache"] = str(root / values["run"].get("cache", "cache"))
        return cls(recipe, out, values)

    def settings(self, change: Mapping[str, Any], what: str = "the shared settings") -> Settings:
        """Checked settings.

        Raises:
            BadInput: they do not fit together; names `what`.
        """
        try:
            return Settings.model_validate(merged(self.values, change))
        except ValidationError as error:
            first = error.errors()[0]
            raise BadInput(f"{what}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error

    @property
    def shared(self) -> Path:
        """Root of the dataset, candidates and scores."""
        return self.out / "shared"

    def prepare(self) -> None:
        """Dataset, candidates and their rewarded scores, for the largest M."""
        with claimed(self.shared, wait=True):
            whole = self.settings({})
            rewarded = whole.score.model_copy(update={"held_out": []})
            settings = whole.model_copy(update={"score": rewarded})
            blocks = settings.model_dump(mode="json")
            wanted = digests.of_json([blocks[name] for name in ("prepare", "backbone", "generate", "score")])
            mark = self.shared / "made.json"
            if mark.is_file() and json.loads(mark.read_text()) == wanted:
                return
            for stage in (prepare, generate, score):
                began = time.perf_counter()
                stage.run(settings, self.shared)
                logger.info("%s took %.0f s", stage.__name__.split(".")[1], time.perf_counter() - began)
            write_json(mark, wanted)

    @cached_property
    def made(self) -> str:
        """Digest of the dataset and the scores: what was made of others is another arena's."""
        files = [self.shared / "data" / name for name in ("dataset.parquet", "scores.parquet")]
        return digests.of_json([digests.of_file(file) for file in files])

    @cached_property
    def base(self) -> Path:
        """Folder of the untrained model's rows and pictures."""
        blocks = self.settings({}).model_dump(mode="json")
        key = digests.of_json([self.made, *(blocks[name] for name in ("backbone", "score", "evaluate"))])
        return self.out / BASE / key[:16]

    @cached_property
    def lr_images(self) -> int:
        """LR images that have candidates to train on."""
        rows = tables.read_rows(self.shared / "data/dataset.parquet", tables.DATASET)
        return sum(row["split"] == "align" for row in rows)

    @cached_property
    def without_hr(self) -> int:
        """LR images to train on without an HR image."""
        rows = tables.read_rows(self.shared / "data/dataset.parquet", tables.DATASET)
        return sum(row["split"] == "align" and not row["has_hr"] for row in rows)

    def training(self, name: str, factor: float, seed: int) -> Training:
        """A training of a composition, whose pairs are made for it, as its length follows from them.

        Raises:
            BadInput: settings do not fit, or the budget leaves no step.
        """
        key = (name, factor, seed)
        if key not in self._known:
            self._known[key] = self._training(*key)
        return self._known[key]

    def _training(self, name: str, factor: float, seed: int) -> Training:
        one = self.recipe.compositions[name]
        settings = self._of_seed(name, one, seed)
        if not settings.train.source.of_pairs and self.without_hr:
            raise BadInput(
                f"composition {name!r}: passes of train.source {settings.train.source.kind} are counted for LR images "
                f"with HR, and {self.without_hr} have none: set prepare.align_lr_sources to []"
            )
        root = self._pairs(settings)
        groups = groups_of(tables.read_dialled(root / "data/pairs.parquet", tables.PAIRS))
        before = before_training(settings, self.lr_images)
        if one.steps is None:
            steps, passes = steps_within(settings, groups, before, self.recipe.passes)
        else:
            steps, passes = one.steps, of_steps(settings, groups, before, one.steps)
        every = max(1, -(-steps // self.recipe.points))
        rate = settings.train.learning_rate * factor
        changed = {"steps": steps, "learning_rate": rate, "validate_every": every, "checkpoint_every": every}
        settings = settings.model_copy(update={"train": settings.train.model_copy(update=changed)})
        folder = digests.of_json([settings.model_dump(mode="json"), self.made])[:16]
        return Training(name, factor, seed, settings, passes, self.out / "runs" / folder)

    def _of_seed(self, name: str, one: Composition, seed: int) -> Settings:
        change = merged(one.settings, {"train": {"seed": seed}, "pair": {"seed": seed}})
        return self.settings(change, f"composition {name!r}")

    def _pairs(self, settings: Settings) -> Path:
        """Folder in whose data/ the pairs of these settings are; they are made where they are not."""
        blocks = settings.model_dump(mode="json")
        key = digests.of_json([self.made, *(blocks[name] for name in ("pair", "score", "generate"))])
        root = self.out / "pairs" / key[:16]
        with claimed(root, wait=True):
            if not (root / "data/pairs.parquet").is_file():
                self._link(root)
                pair.run(settings, root)
        return root

    def _link(self, root: Path) -> None:
        (root / "data").mkdir(parents=True, exist_ok=True)
        for name in MADE:
            link = root / "data" / name
            if not link.is_symlink():
                link.symlink_to((self.shared / "data" / name).resolve())

    def train(self, training: Training) -> Tree:
        """Train, as far as that has not been done. A training that diverges is a result: it is kept as one."""
        if (known := training.trained) is not None:
            return known
        logger.info("%s: training of %d steps", training, training.settings.train.steps)
        self._link(training.root)
        pairs = training.root / "data/pairs.parquet"
        if not pairs.is_symlink():
            pairs.symlink_to((self._pairs(training.settings) / "data/pairs.parquet").resolve())
        began = time.perf_counter()
        failure = None
        try:
            with torch.random.fork_rng():
                train.run(training.settings, training.root)
        except Diverged as error:
            failure = str(error)
            logger.warning("%s: %s", training, error)
        found = {"seconds": time.perf_counter() - began, "failure": failure, **self._taken(training, failure)}
        write_json(training.root / "trained.json", found)
        logger.info("%s: training took %.0f s", training, found["seconds"])
        return found

    def _taken(self, training: Training, failure: str | None) -> Tree:
        """Steps and passes of a training that ended before its last step as it was told to; else nothing."""
        if failure is not None:
            return {}
        steps = TrainingSummary.read(training.root).steps
        if steps == training.settings.train.steps:
            return {}
        groups = groups_of(tables.read_dialled(training.root / "data/pairs.parquet", tables.PAIRS))
        return {"steps": steps, "training_passes": of_steps(training.settings, groups, training.passes, steps).training}
