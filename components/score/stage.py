"""Candidates to raw metric scores and rewards."""

import logging
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from tqdm import tqdm

from components.artifacts import digests, parts, tables
from components.artifacts.images import to_tensor
from components.artifacts.shards import Shard, ShardFolder, decode_png
from components.errors import BadInput
from components.metrics.suite import Suite, applicable, suite_digests
from components.metrics.table import LR_CONSISTENCY
from components.process import resolve_device
from components.rewards.alignment import rewarded_metrics
from components.score import groups
from components.score.cache import ScoreCache, Scores
from components.settings import Settings

logger = logging.getLogger("dp2o.score")


PARTS, QUARANTINE_PARTS = Path("data/scores.parts"), Path("data/score_quarantine.parts")
"""Rows of the parts that were published one by one, until `gather` joins them."""


def run(settings: Settings, root: Path, shard: Shard | None = None) -> None:
    """Publish data/scores.parquet and data/score_quarantine.parquet; with `shard`, only fill that part of the cache.

    Raises:
        BadInput: dataset or candidates are missing or do not fit together, or a metric lacks its weights.
    """
    scored = _score(settings, root, shard)
    if shard is None:
        _publish(root, scored)


def publish_part(settings: Settings, root: Path, shard: Shard) -> None:
    """Score that part, and publish its rows, which `gather` joins with the other parts'.

    Raises:
        BadInput: as `run`.
    """
    scored = _score(settings, root, shard)
    tables.write_rows(parts.path(root / PARTS, shard), tables.scores_schema(scored.metrics), scored.rows)
    tables.write_rows(parts.path(root / QUARANTINE_PARTS, shard), tables.SCORE_QUARANTINE, scored.quarantined)


def gather(settings: Settings, root: Path) -> None:
    """Publish both tables from the rows of all parts; the same bytes as one run over all.

    Raises:
        BadInput: a part is missing.
    """
    dataset, candidates = _inputs(root)
    metrics = _metrics(settings, dataset, candidates)
    schema = tables.scores_schema(metrics)
    rows = [row for file in parts.complete(root / PARTS) for row in tables.read_rows(file, schema)]
    files = parts.complete(root / QUARANTINE_PARTS)
    quarantined = [row for file in files for row in tables.read_rows(file, tables.SCORE_QUARANTINE)]
    for listed in (rows, quarantined):  # stable: the order within a group is kept
        listed.sort(key=lambda row: str(row["lr_id"]))
    _publish(root, _Scored(metrics, rows, quarantined))


@dataclass(frozen=True)
class _Scored:
    """Names of the metrics, and the rows of both tables."""

    metrics: list[str]
    rows: list[tables.Row]
    quarantined: list[tables.Row]


def _inputs(root: Path) -> tuple[dict[str, tables.Row], dict[str, list[tables.Row]]]:
    """Rows of the dataset and of the candidates, by lr_id."""
    dataset = {row["lr_id"]: row for row in tables.read_rows(root / "data/dataset.parquet", tables.DATASET)}
    candidates: dict[str, list[tables.Row]] = defaultdict(list)
    for row in tables.read_rows(root / "data/candidates.parquet", tables.CANDIDATES):
        candidates[row["lr_id"]].append(row)
    unknown = sorted(set(candidates) - set(dataset))
    if unknown:
        raise BadInput(
            f"data/candidates.parquet has {len(unknown)} LR images that data/dataset.parquet lacks, {unknown[0]} "
            "first; run generate again"
        )
    return dataset, candidates


def _score(settings: Settings, root: Path, shard: Shard | None) -> _Scored:
    """Make what the cache lacks of all groups, or of a part, and the rows of that."""
    dataset, candidates = _inputs(root)
    metrics = suite_digests(_metrics(settings, dataset, candidates))
    scorer = _Scorer(settings, root, metrics, dataset, resolve_device(settings.run.device, shard))
    rows: list[tables.Row] = []
    quarantined: list[tables.Row] = []
    for lr_id in tqdm(shard.take(candidates) if shard else sorted(candidates), desc="score", unit="LR"):
        has_hr = dataset[lr_id]["has_hr"]
        rewarded = rewarded_metrics(settings.score.fr, settings.score.nr, has_hr)
        scores = scorer.group(lr_id, candidates[lr_id])
        kept, failed = groups.rows(metrics, scores, candidates[lr_id], has_hr, rewarded)
        rows += kept
        quarantined += failed
    logger.info("%d scores made, %d found in the cache", scorer.made, scorer.found)
    return _Scored(list(metrics), rows, quarantined)


def _metrics(settings: Settings, dataset: dict[str, tables.Row], candidates: dict[str, list[tables.Row]]) -> list[str]:
    """The metrics of the settings, and `lr_consistency` where images without HR need it."""
    names = settings.score.all_metrics
    if LR_CONSISTENCY not in names and not all(dataset[lr_id]["has_hr"] for lr_id in candidates):
        names = [*names, LR_CONSISTENCY]
    return names


class _Scorer:
    """Scores groups through the cache, and counts scores."""

    def __init__(
        self,
        settings: Settings,
        root: Path,
        metrics: dict[str, str],
        dataset: dict[str, tables.Row],
        device: torch.device,
    ) -> None:
        self.made = self.found = 0
        self._metrics, self._dataset, self._batch = metrics, dataset, settings.score.batch
        self._device = device
        self._cache = ScoreCache(settings.run.cache_folder(root))
        self._inputs = ShardFolder(root / "data/dataset")
        self._images = ShardFolder(root / "data/candidates")

    @cached_property
    def _suite(self) -> Suite:
        # Loaded when the first score is missing: that takes longer than to look all of them up.
        return Suite.load(list(self._metrics), self._device)

    def group(self, lr_id: str, candidates: list[tables.Row]) -> Scores:
        """All scores of one group; what is new is in the cache before it is returned."""
        row = self._dataset[lr_id]
        inputs = self._inputs[row["shard"]]
        hr_png = inputs.read(f"{lr_id}.hr.png") if row["has_hr"] else None
        hr_digest = digests.of_bytes(hr_png) if hr_png else ""
        known = self._cache.read(lr_id, hr_digest)
        image_digests = [candidate["image_digest"] for candidate in candidates]
        lacking = sum(map(len, groups.missing(self._metrics, known, image_digests, hr_png is not None).values()))
        self.made += lacking
        self.found += len(candidates) * len(applicable(self._metrics, hr_png is not None)) - lacking
        if not lacking:
            return known

        def images(positions: Sequence[int]) -> torch.Tensor:
            chosen = [candidates[position] for position in positions]
            return to_tensor(*(self._images[row["shard"]].image(f"{lr_id}.{row['index']:03d}.png") for row in chosen))

        reference = to_tensor(decode_png(hr_png)) if hr_png else None
        lr = to_tensor(inputs.image(f"{lr_id}.lr.png"))
        scores = groups.complete(
            self._suite, known, image_digests, images, reference=reference, lr=lr, batch=self._batch
        )
        self._cache.write(lr_id, hr_digest, scores)
        return scores


def _publish(root: Path, scored: _Scored) -> None:
    metrics, rows, quarantined = scored.metrics, scored.rows, scored.quarantined
    counts = Counter(f"{row['metric']} ({row['reason']})" for row in quarantined)
    failures = ", ".join(f"{name}: {count}" for name, count in sorted(counts.items()))
    if not rows:
        raise BadInput(
            f"no candidate has a finite score by every rewarded metric; missing are {failures}: "
            "look at data/candidates, or change score.fr and score.nr"
        )
    tables.write_rows(root / "data/score_quarantine.parquet", tables.SCORE_QUARANTINE, quarantined)
    tables.write_rows(root / "data/scores.parquet", tables.scores_schema(metrics), rows)
    logger.info("%d candidates scored by %s", len(rows), ", ".join(metrics))
    if quarantined:
        logger.warning("%d scores missing, see data/score_quarantine.parquet: %s", len(quarantined), failures)
