"""Candidates to raw metric scores and rewards."""

import logging
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from components.artifacts import parts, paths, tables
from components.artifacts.images import to_tensor
from components.artifacts.shards import Shard, ShardFolder
from components.errors import BadInput
from components.metrics.suite import Suite, applicable, suite_digests
from components.metrics.table import LR_CONSISTENCY
from components.metrics.weights import required
from components.progress import progress
from components.rewards.alignment import rewarded_metrics
from components.runtime.process import resolve_device
from components.runtime.workers import Workers, most_workers, size_of
from components.score import groups
from components.score.cache import ScoreCache, Scores
from components.score.judging import Judges
from components.score.lr_group import LRGroup
from components.settings import Settings
from components.storage import digests

logger = logging.getLogger("dp2o.score")


PARTS, QUARANTINE_PARTS = Path("data/scores.parts"), Path("data/score_quarantine.parts")
COMPARISON_PARTS = Path("data/comparisons.parts")
"""Rows of the parts that were published one by one, until `gather` joins them."""


def run(settings: Settings, root: Path, shard: Shard | None = None) -> None:
    """Publish data/scores.parquet, data/score_quarantine.parquet and data/comparisons.parquet.

    With `shard`, only fill that part of the cache.

    Raises:
        BadInput: dataset or candidates are missing or do not fit together, or a metric or judge lacks its weights.
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
    tables.write_rows(parts.path(root / PARTS, shard), tables.scores_schema(scored.columns), scored.rows)
    tables.write_rows(parts.path(root / QUARANTINE_PARTS, shard), tables.SCORE_QUARANTINE, scored.quarantined)
    tables.write_rows(parts.path(root / COMPARISON_PARTS, shard), tables.COMPARISONS, scored.compared)


def gather(settings: Settings, root: Path) -> None:
    """Publish all tables from the rows of all parts; the same bytes as one run over all.

    Raises:
        BadInput: a part is missing.
    """
    dataset, candidates = _inputs(root)
    columns = [*_metrics(settings, dataset, candidates), *(judge.column for judge in settings.score.judges)]
    schema = tables.scores_schema(columns)
    rows = [row for file in parts.complete(root / PARTS) for row in tables.read_rows(file, schema)]
    files = parts.complete(root / QUARANTINE_PARTS)
    quarantined = [row for file in files for row in tables.read_rows(file, tables.SCORE_QUARANTINE)]
    files = parts.complete(root / COMPARISON_PARTS)
    compared = [row for file in files for row in tables.read_rows(file, tables.COMPARISONS)]
    for listed in (rows, quarantined, compared):  # stable: the order within a group is kept
        listed.sort(key=lambda row: str(row["lr_id"]))
    _publish(root, _Scored(columns, rows, quarantined, compared))


@dataclass(frozen=True)
class _Scored:
    """Names of metrics and judges, and the rows of all tables."""

    columns: list[str]
    rows: list[tables.Row]
    quarantined: list[tables.Row]
    compared: list[tables.Row]


def _inputs(root: Path) -> tuple[dict[str, tables.Row], dict[str, list[tables.Row]]]:
    """Rows of the dataset and of the candidates, by lr_id."""
    dataset = {row["lr_id"]: row for row in tables.read_rows(root / paths.DATASET_ROWS, tables.DATASET)}
    candidates: dict[str, list[tables.Row]] = defaultdict(list)
    for row in tables.read_rows(root / paths.CANDIDATE_ROWS, tables.CANDIDATES):
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
    device = resolve_device(settings.run.device, shard)
    judges = Judges(settings, root)
    chosen = [LRGroup(dataset[lr_id], candidates[lr_id]) for lr_id in (shard.take(candidates) if shard else candidates)]
    known = _Known(settings, root, metrics)
    lacking = {group.lr_id: known.lacking(group) for group in chosen}
    _make(settings, root, metrics, device, [group for group in chosen if lacking[group.lr_id]], len(chosen))
    judges.ask(sorted(chosen, key=lambda group: group.lr_id), device)
    needed = [judge.column for judge in settings.score.judges if judge.side]
    rows: list[tables.Row] = []
    quarantined: list[tables.Row] = []
    compared: list[tables.Row] = []
    for group in sorted(chosen, key=lambda group: group.lr_id):
        rewarded = rewarded_metrics(settings.score.fr, settings.score.nr, group.has_hr)
        judged, answers = judges.of_group(group)
        scores = known.scores(group)
        kept, failed = groups.rows(metrics, scores, group.candidates, group.has_hr, rewarded, judged, needed)
        compared += answers
        rows += kept
        quarantined += failed
    made = sum(lacking.values())
    asked = sum(len(group.candidates) * len(applicable(metrics, group.has_hr)) for group in chosen)
    logger.info("%d scores made, %d found in the cache", made, asked - made)
    return _Scored([*metrics, *(judge.column for judge in settings.score.judges)], rows, quarantined, compared)


def _make(
    settings: Settings, root: Path, metrics: dict[str, str], device: torch.device, lacking: list[LRGroup], of: int
) -> None:
    """Scores that groups lack, into the cache, in worker processes where there is much to do."""
    weights = size_of(*(file for name in metrics for file in required(name)))
    load = partial(_Scorer, settings, root, metrics, device)
    with Workers(load, settings, most_workers(settings, device, weights)) as workers:
        for _ in progress(workers.each(lacking), desc="score", unit="LR", initial=of - len(lacking), total=of):
            pass


def _metrics(settings: Settings, dataset: dict[str, tables.Row], candidates: dict[str, list[tables.Row]]) -> list[str]:
    """The metrics of the settings, and `lr_consistency` where images without HR need it."""
    names = settings.score.all_metrics
    if LR_CONSISTENCY not in names and not all(dataset[lr_id]["has_hr"] for lr_id in candidates):
        names = [*names, LR_CONSISTENCY]
    return names


class _Known:
    """Scores in the cache."""

    def __init__(self, settings: Settings, root: Path, metrics: dict[str, str]) -> None:
        self._metrics = metrics
        self._cache = ScoreCache(settings.run.cache_folder(root))
        self._inputs = ShardFolder(root / paths.DATASET)
        self._hr_digests: dict[str, str] = {}

    def lacking(self, group: LRGroup) -> int:
        """How many scores of a group are missing."""
        return sum(map(len, self._missing(group, self.read(group)).values()))

    def scores(self, group: LRGroup) -> Scores:
        """All scores of a group.

        Raises:
            BadInput: the cache lost some that were in it a moment ago.
        """
        known = self.read(group)
        if self._missing(group, known):
            raise BadInput(
                f"the cache below run.cache lacks scores of {group.lr_id} just put there: is something else cleaning "
                "it, or is the disk at fault? Run score again"
            )
        return known

    def read(self, group: LRGroup) -> Scores:
        """What there is of a group."""
        return self._cache.read(group.lr_id, self.hr_digest(group))

    def hr_digest(self, group: LRGroup) -> str:
        """sha256 of the HR's file, empty where there is none."""
        if group.lr_id not in self._hr_digests:
            png = self._inputs[group.row["shard"]].read(f"{group.lr_id}.hr.png") if group.has_hr else None
            self._hr_digests[group.lr_id] = digests.of_bytes(png) if png else ""
        return self._hr_digests[group.lr_id]

    def _missing(self, group: LRGroup, known: Scores) -> dict[str, list[int]]:
        return groups.missing(self._metrics, known, group.image_digests, group.has_hr)


class _Scorer(_Known):
    """Makes the scores that a group lacks, into the cache; in whatever process."""

    def __init__(self, settings: Settings, root: Path, metrics: dict[str, str], device: torch.device) -> None:
        super().__init__(settings, root, metrics)
        self._batch = settings.score.batch
        self._images = ShardFolder(root / paths.CANDIDATES)
        self._suite = Suite.load(list(metrics), device)

    def __call__(self, group: LRGroup) -> None:
        """What is new is in the cache when this returns."""
        lr_id = group.lr_id

        def images(positions: Sequence[int]) -> torch.Tensor:
            chosen = [group.candidates[position] for position in positions]
            return to_tensor(*(self._images[row["shard"]].image(f"{lr_id}.{row['index']:03d}.png") for row in chosen))

        inputs = self._inputs[group.row["shard"]]
        scores = groups.complete(
            self._suite,
            self.read(group),
            group.image_digests,
            images,
            hr=to_tensor(inputs.image(f"{lr_id}.hr.png")) if group.has_hr else None,
            lr=to_tensor(inputs.image(f"{lr_id}.lr.png")),
            batch=self._batch,
        )
        self._cache.write(lr_id, self.hr_digest(group), scores)


def _publish(root: Path, scored: _Scored) -> None:
    columns, rows, quarantined = scored.columns, scored.rows, scored.quarantined
    counts = Counter(f"{row['metric']} ({row['reason']})" for row in quarantined)
    failures = ", ".join(f"{name}: {count}" for name, count in sorted(counts.items()))
    if not rows:
        raise BadInput(
            f"no candidate has a finite score by every rewarded metric; missing are {failures}: "
            "look at data/candidates, or change score.fr and score.nr"
        )
    tables.write_rows(root / paths.SCORE_QUARANTINE, tables.SCORE_QUARANTINE, quarantined)
    tables.write_rows(root / paths.COMPARISONS, tables.COMPARISONS, scored.compared)
    tables.write_rows(root / paths.SCORES, tables.scores_schema(columns), rows)
    logger.info("%d candidates scored by %s", len(rows), ", ".join(columns))
    if quarantined:
        logger.warning("%d scores missing, see data/score_quarantine.parquet: %s", len(quarantined), failures)
