"""Trainings on the test split, with the same noise each: rows of measures, and a few pictures."""

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.arena.recipe import BASE
from benchmarks.arena.study import Study, Training, claimed, read_json
from components.artifacts import tables
from components.artifacts.shards import decode_png, encode_png
from components.artifacts.tables import Row
from components.backbones.base import Backbone
from components.backbones.loading import load_backbone
from components.evaluate.evaluator import Evaluator
from components.judge.guards import GUARDS, diversity, measure_guards
from components.judge.restorers import Restorer
from components.rewards.normaliser import FixedNormaliser
from components.storage.publish import atomic_file, write_json

logger = logging.getLogger("dp2o.arena")

PICTURES = (0.1, 0.5, 0.9)
"""Test images whose restorations are shown: those at these quantiles of the base's reward."""


def schema(metrics: list[str]) -> pa.Schema:
    """Schema of results.parquet, a restoration a row."""

    def column(name: str, kind: pa.DataType, about: str, nullable: bool = False) -> pa.Field:
        return pa.field(name, kind, nullable=nullable, metadata={"about": about})

    return pa.schema(
        [
            column("composition", pa.string(), f"its name in the recipe; {BASE} is the untrained model"),
            column("seed", pa.int64(), "training seed; null for the base", nullable=True),
            column("lr_id", pa.string(), "the test image"),
            column("photo", pa.string(), "sha256 of its source photo: the cluster of the intervals"),
            column("index", pa.int32(), "restoration of the image; with lr_id it determines the noise"),
            column("reward", pa.float64(), "under bounds fixed on the base's restorations"),
            *(column(name, pa.float64(), "raw metric value", nullable=True) for name in metrics),
            *(column(name, pa.float64(), "guard, lower is better") for name in GUARDS),
            column("diversity", pa.float64(), "the image's spread over restorations, grey levels; null for one", True),
        ]
    )


@dataclass(frozen=True)
class Bench:
    """The judge of the study, with the base measured.

    Attributes:
        study: its settings and folder.
        evaluator: test images and metrics.
        backbone: the model, whose policy is loaded from a training.
    """

    study: Study
    evaluator: Evaluator
    backbone: Backbone

    @classmethod
    def load(cls, study: Study) -> "Bench":
        """Judge of the shared settings."""
        settings = study.settings({})
        evaluator = Evaluator.load(settings, study.shared)
        return cls(study, evaluator, load_backbone(settings, study.shared, evaluator.device))

    @cached_property
    def normaliser(self) -> FixedNormaliser:
        """Bounds fixed on the base's restorations."""
        (measured,) = self.evaluator.measure(self._base)
        return self.evaluator.normaliser(measured)

    @property
    def _base(self) -> Restorer:
        return self.evaluator.model(BASE, self.backbone, "reference")

    @property
    def metrics(self) -> list[str]:
        """Names of all metrics."""
        return list(self.evaluator.metrics)

    def base(self) -> Path:
        """Folder of the base's rows and pictures, which are made where they are not."""
        folder = self.study.base
        with claimed(folder, wait=True):
            if not (folder / "rows.parquet").is_file():
                began = time.perf_counter()
                self._write(folder, self._base, BASE, None)
                logger.info("base: judging took %.0f s", time.perf_counter() - began)
        return folder

    def judged(self, training: Training) -> None:
        """Rows and pictures of a finished training, as far as they are not there."""
        if read_json(training.root / "judged.json") is not None:
            return
        began = time.perf_counter()
        self.backbone.load_policy(training.root / "models/aligned" / self.study.recipe.checkpoint)
        restorer = self.evaluator.model(training.name, self.backbone, "policy")
        self._write(training.root, restorer, training.name, training.seed)
        seconds = time.perf_counter() - began
        write_json(training.root / "judged.json", {"seconds": seconds})
        logger.info("%s: judging took %.0f s", training, seconds)

    def _write(self, folder: Path, restorer: Restorer, name: str, seed: int | None) -> None:
        (measured,) = self.evaluator.measure(restorer)
        scored = self.evaluator.scored(measured, self.normaliser)
        table = scored.of_images(self.evaluator.of_kind(self.evaluator.has_hr)).table(self.metrics)
        rows = list(self._rows(restorer, table, name, seed))
        if name == BASE:
            shown = at_quantiles({key[0]: row["reward"] for key, row in table.items() if key[1] == 0})
            write_json(folder / "shown.json", {"lr_ids": shown})
        self._pictures(folder, restorer)
        tables.write_rows(folder / "rows.parquet", schema(self.metrics), rows)

    def _rows(
        self, restorer: Restorer, table: Mapping[tuple[str, int], Mapping[str, float]], name: str, seed: int | None
    ) -> Iterator[Row]:
        wanted = {lr_id for lr_id, _ in table}
        for image in self.evaluator.images:
            if image.lr_id not in wanted:
                continue
            pictures = [decode_png(content) for content in self.evaluator.judge.restored(restorer, image)]
            spread = diversity(pictures)
            for index, picture in enumerate(pictures):
                if (values := table.get((image.lr_id, index))) is None:
                    continue
                known: dict[str, Any] = {key: value if np.isfinite(value) else None for key, value in values.items()}
                yield {
                    "composition": name,
                    "seed": seed,
                    "lr_id": image.lr_id,
                    "photo": image.photo,
                    "index": index,
                    **known,
                    **measure_guards(picture, image.lr),
                    "diversity": spread if np.isfinite(spread) else None,
                }

    def _pictures(self, folder: Path, restorer: Restorer) -> None:
        """The first restoration of each image that is shown; beside the base's also the LR and the HR."""
        shown = (read_json(self.study.base / "shown.json") or {"lr_ids": []})["lr_ids"]
        for image in self.evaluator.images:
            if image.lr_id not in shown:
                continue
            contents = {image.lr_id: self.evaluator.judge.restored(restorer, image)[0]}
            if restorer.name == BASE:
                contents[f"{image.lr_id}.lr"] = encode_png(image.lr)
                if image.hr is not None:
                    contents[f"{image.lr_id}.hr"] = encode_png(image.hr)
            for name, content in contents.items():
                with atomic_file(folder / "pictures" / f"{name}.png") as temporary:
                    temporary.write_bytes(content)


def at_quantiles(rewards: Mapping[str, float]) -> list[str]:
    """Images at `PICTURES` of the rewards: a rule that knows no composition. Pure."""
    order = sorted(rewards, key=lambda lr_id: (rewards[lr_id], lr_id))
    return list(dict.fromkeys(order[round(share * (len(order) - 1))] for share in PICTURES))
