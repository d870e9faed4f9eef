"""LR images to M candidates each, from the frozen reference."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from components.artifacts import latents, parts, paths, tables
from components.artifacts.images import to_tensor
from components.artifacts.shards import Shard, ShardFolder, decode_png, encode_png, write_shard
from components.backbones.base import Backbone, Branch, candidate_seed
from components.backbones.loading import check_sizes, load_backbone, saved_digests, saved_files
from components.errors import BadInput
from components.generate.cache import Entry, GroupCache
from components.generate.sampling import CODE_VERSION, Candidate, sample_candidates
from components.metrics.weights import check_all
from components.progress import progress
from components.runtime.process import resolve_device
from components.runtime.workers import Workers, most_workers, size_of
from components.settings import Settings
from components.storage import digests
from components.storage.publish import atomic_folder

logger = logging.getLogger("dp2o.generate")


PARTS = Path("data/candidates.parts")
"""Rows of the parts that were published one by one, until `gather` joins them."""


@dataclass(frozen=True)
class Sampled:
    """Who samples: the frozen reference, or in a later round what the round before has trained.

    Attributes:
        policy: its folder; None for the reference.
        number: of the round, from 1; noise is a function of it, beside LR and index.
    """

    policy: Path | None = None
    number: int = 1

    @property
    def branch(self) -> Branch:
        return "reference" if self.policy is None else "policy"

    def load(self, settings: Settings, root: Path, device: torch.device) -> Backbone:
        """The backbone, with that policy."""
        backbone = load_backbone(settings, root, device)
        if self.policy is not None:
            backbone.load_policy(self.policy)
        return backbone


REFERENCE = Sampled()


def run(settings: Settings, root: Path, shard: Shard | None = None, sampled: Sampled = REFERENCE) -> None:
    """Publish data/candidates.parquet and data/candidates/*.tar; with `shard`, only fill that part of the cache.

    Args:
        settings, root, shard: as for every stage.
        sampled: who samples.

    Raises:
        BadInput: the dataset is missing or holds no LR image of the wanted splits, the backbone does not load, or a
            metric that will score the candidates cannot.
    """
    finished = _fill(settings, root, shard, sampled)
    if shard is not None:
        return
    rows: list[tables.Row] = []
    with atomic_folder(root / paths.CANDIDATES) as folder:
        for index in range(settings.generate.shards):
            rows += finished.publish(folder, Shard(index, settings.generate.shards))
    _publish_rows(root, rows)


def publish_part(settings: Settings, root: Path, shard: Shard) -> None:
    """Fill that part of the cache, and publish its tar and its rows, which `gather` joins with the other parts'.

    Raises:
        BadInput: as `run`, or the parts are not those of `generate.shards`, whose tars these are.
    """
    if shard.count != settings.generate.shards:
        raise BadInput(
            f"--shard {shard} --publish: a part is a tar of data/candidates, and generate.shards is "
            f"{settings.generate.shards}: use i/{settings.generate.shards}, or change generate.shards"
        )
    rows = _fill(settings, root, shard).publish(root / paths.CANDIDATES, shard)
    tables.write_rows(parts.path(root / PARTS, shard), tables.CANDIDATES, rows)


def gather(settings: Settings, root: Path) -> None:
    """Publish data/candidates.parquet from the rows of all parts; the same bytes as one run over all.

    Raises:
        BadInput: a part is missing.
    """
    files = parts.complete(root / PARTS, settings.generate.shards)
    _publish_rows(root, [row for file in files for row in tables.read_rows(file, tables.CANDIDATES)])


def _publish_rows(root: Path, rows: list[tables.Row]) -> None:
    rows.sort(key=lambda row: (row["lr_id"], row["index"]))
    tables.write_rows(root / paths.CANDIDATE_ROWS, tables.CANDIDATES, rows)
    logger.info("%d candidates of %d LR images", len(rows), len({row["lr_id"] for row in rows}))


@dataclass(frozen=True)
class _Finished:
    """Groups that are in the cache; `made_by` are the columns that say what made them."""

    cache: GroupCache
    wanted: dict[str, tables.Row]
    count: int
    made_by: tables.Row
    number: int

    def publish(self, folder: Path, part: Shard) -> list[tables.Row]:
        """Write a part's tar into `folder`; its rows."""
        rows: list[tables.Row] = []
        name = f"{part.name}.tar"
        members = _members(self.cache, part.take(self.wanted), self.count, rows, name, self.wanted)
        write_shard(folder / name, members)
        seeds = [candidate_seed(row["lr_id"], row["index"], self.number) for row in rows]
        return [row | {"seed": seed} | self.made_by for row, seed in zip(rows, seeds, strict=True)]


def _fill(settings: Settings, root: Path, shard: Shard | None, sampled: Sampled = REFERENCE) -> _Finished:
    """Make what the cache lacks of all groups, or of a part."""
    wanted = _wanted(settings, root)
    if shard is None:  # parts of the work run on machines that need not have the metrics
        check_all(settings.score.all_metrics)
    device = resolve_device(settings.run.device, shard)
    backbone: Backbone | None = None
    known = saved_digests(settings, root) if sampled.policy is None else None
    if known is None:
        backbone = sampled.load(settings, root, device)
        known = backbone.digest(sampled.branch), backbone.sampler.digest
    model_digest, sampler = known
    sampler_digest = digests.of_json([sampler, settings.backbone.colour_fix])
    again = (f"round {sampled.number}",) if sampled.number > 1 else ()
    determined_by = (model_digest, sampler_digest, CODE_VERSION, *again)
    cache = GroupCache(settings.run.cache_folder(root), *determined_by)
    count = settings.generate.candidates
    found = {
        lr_id: min(len(cache.read(lr_id, wanted[lr_id]["prompt"])), count)
        for lr_id in (shard.take(wanted) if shard else sorted(wanted))
    }
    lacking = [lr_id for lr_id in found if found[lr_id] < count]
    load = partial(_Maker, settings, root, device, determined_by, sampled)
    made = 0
    # No network is loaded here before it is known that something is missing: it takes longer than all look-ups.
    most = most_workers(settings, device, size_of(*saved_files(settings, root)))
    with Workers(load, settings, most, partial(load, backbone)) as workers:
        results = workers.each([wanted[lr_id] for lr_id in lacking])
        finished = len(found) - len(lacking)
        for new in progress(results, desc="generate", unit="LR", initial=finished, total=len(found)):
            made += new
    logger.info("%d candidates made, %d found in the cache", made, sum(found.values()))
    made_by = {"model_digest": model_digest, "sampler_digest": sampler_digest, "code_version": CODE_VERSION}
    return _Finished(cache, wanted, count, made_by, sampled.number)


def _wanted(settings: Settings, root: Path) -> dict[str, tables.Row]:
    """Rows of the LR images that get candidates, by lr_id.

    Raises:
        BadInput: the dataset is missing, holds none of the wanted splits, or one that the backbone does not take.
    """
    rows = tables.read_rows(root / paths.DATASET_ROWS, tables.DATASET)
    wanted = {row["lr_id"]: row for row in rows if row["split"] in settings.generate.splits}
    if not wanted:
        raise BadInput(
            f"data/dataset.parquet has no LR image in the splits {settings.generate.splits}; "
            "add photos to prepare.sources or change prepare.split"
        )
    check_sizes(settings.backbone, rows)
    return wanted


class _Maker:
    """Makes the candidates that an LR image lacks, into the cache; in whatever process."""

    def __init__(
        self,
        settings: Settings,
        root: Path,
        device: torch.device,
        determined_by: Sequence[str],
        sampled: Sampled,
        backbone: Backbone | None = None,
    ) -> None:
        self._settings = settings
        self._sampled = sampled
        self._backbone = backbone or sampled.load(settings, root, device)
        self._cache = GroupCache(settings.run.cache_folder(root), *determined_by)
        self._images = ShardFolder(root / paths.DATASET)

    def __call__(self, row: tables.Row) -> int:
        """How many candidates of the LR image of this row of the dataset were made."""
        lr_id, prompt = row["lr_id"], row["prompt"]
        done = self._cache.read(lr_id, prompt)
        new = sample_candidates(
            self._backbone,
            to_tensor(self._images[row["shard"]].image(f"{lr_id}.lr.png")),
            prompt,
            lr_id,
            range(len(done), self._settings.generate.candidates),
            self._settings.generate.batch,
            self._settings.backbone.colour_fix,
            self._sampled.branch,
            self._sampled.number,
        )
        self._cache.write(lr_id, prompt, done + [_entry(candidate) for candidate in new])
        return len(new)


def _entry(candidate: Candidate) -> Entry:
    latent = None if candidate.latent is None else latents.encode(candidate.latent)
    return Entry(encode_png(candidate.image), latent)


def _members(
    cache: GroupCache,
    lr_ids: list[str],
    count: int,
    rows: list[tables.Row],
    shard: str,
    wanted: dict[str, tables.Row],
) -> Iterator[tuple[str, bytes]]:
    """Tar members of the given groups; appends a row a candidate to `rows` on the way.

    Raises:
        BadInput: the cache lost a group that was in it a moment ago.
    """
    for lr_id in lr_ids:
        entries = cache.read(lr_id, wanted[lr_id]["prompt"])[:count]
        if len(entries) < count:
            raise BadInput(
                f"the cache below run.cache holds {len(entries)} of the {count} candidates of {lr_id} just put there: "
                "is something else cleaning it, or is the disk at fault? Run generate again"
            )
        for index, entry in enumerate(entries):
            rows.append(
                {
                    "lr_id": lr_id,
                    "index": index,
                    "split": wanted[lr_id]["split"],
                    "shard": shard,
                    "image_digest": digests.of_pixels(decode_png(entry.image)),
                }
            )
            yield f"{lr_id}.{index:03d}.png", entry.image
            if entry.latent is not None:
                yield latents.member(lr_id, index), entry.latent
