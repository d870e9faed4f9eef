"""Scores to preference pairs: reward over the first M candidates, rank, pair, weigh."""

import logging
from collections import defaultdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from components.artifacts import tables
from components.artifacts.shards import Shard
from components.errors import BadInput
from components.pair import builders
from components.rewards.alignment import rewarded_metrics
from components.rewards.group import group_rewards
from components.settings import PairSettings, Settings

logger = logging.getLogger("dp2o.pair")


def run(settings: Settings, root: Path, shard: Shard | None = None) -> None:
    """Publish data/groups.parquet and data/pairs.parquet for the align split.

    Raises:
        BadInput: a shard is asked for (weights need all groups at once), scores lack a metric or name an LR image that
            the dataset lacks, or no group has pairs.
    """
    if shard is not None:
        raise BadInput("pair cannot be sharded: its weights average over all groups; run it without --shard")
    path = root / "data/scores.parquet"
    _, rows = tables.read_any(path)
    has_hr = {
        row["lr_id"]: bool(row["has_hr"]) for row in tables.read_rows(root / "data/dataset.parquet", tables.DATASET)
    }
    by_group: dict[str, list[tables.Row]] = defaultdict(list)
    limit = settings.pair.candidates or settings.generate.candidates
    for row in rows:
        if row["split"] == "align" and row["index"] < limit:
            by_group[row["lr_id"]].append(row)

    pairs: dict[str, list[builders.Pair]] = {}
    groups: dict[str, tables.Row] = {}
    small = tied = 0
    for lr_id in sorted(by_group):
        members = sorted(by_group[lr_id], key=lambda row: int(row["index"]))
        if len(members) < 2 * settings.pair.top:
            small += 1
            continue
        if lr_id not in has_hr:
            raise BadInput(
                f"{path} has LR image {lr_id}, which data/dataset.parquet lacks; run generate and score again"
            )
        indexes = [int(row["index"]) for row in members]
        rewards = _rewards(members, rewarded_metrics(settings.score.fr, settings.score.nr, has_hr[lr_id]), path)
        found = build(settings.pair, indexes, rewards, lr_id)
        if not found:
            tied += 1
            continue
        pairs[lr_id] = found
        groups[lr_id] = {
            "lr_id": lr_id,
            "split": "align",
            "size": len(members),
            "sigma": builders.spread(rewards),
            "mu_gap": float(np.mean([abs(pair.gap) for pair in found])),
        }
    if not groups:
        raise BadInput(
            f"{path}: no group of the align split gives a pair ({small} with fewer than {2 * settings.pair.top} "
            f"scored candidates, {tied} whose rewards are all equal); lower pair.top or look into "
            "data/score_quarantine.parquet"
        )
    inter = builders.inter_weights(np.array([row["sigma"] for row in groups.values()]))
    pair_rows: list[tables.Row] = []
    for (lr_id, group), w_inter in zip(groups.items(), inter, strict=True):
        group["w_inter"] = float(w_inter)
        for pair, w_intra in zip(pairs[lr_id], builders.intra_weights(pairs[lr_id]), strict=True):
            weight = (w_intra if settings.pair.intra_weights else 1.0) * (
                w_inter if settings.pair.inter_weights else 1.0
            )
            pair_rows.append(
                {
                    "lr_id": lr_id,
                    "winner": pair.winner,
                    "loser": pair.loser,
                    "gap": pair.gap,
                    "w_intra": float(w_intra),
                    "w_inter": float(w_inter),
                    "weight": float(weight),
                }
            )
    tables.write_rows(root / "data/groups.parquet", tables.GROUPS, groups.values())
    tables.write_rows(root / "data/pairs.parquet", tables.PAIRS, pair_rows)
    logger.info(
        "%d pairs in %d groups (%s, N = %d); set aside: %d groups with too few scored candidates, %d without any gap",
        len(pair_rows), len(groups), settings.pair.builder, settings.pair.top, small, tied,
    )  # fmt: skip


def build(settings: PairSettings, indexes: list[int], rewards: NDArray[np.float64], lr_id: str) -> list[builders.Pair]:
    """The pairs of one group by the builder that the settings name."""
    match settings.builder:
        case "dp2o":
            return builders.dp2o(indexes, rewards, settings.top)
        case "best_vs_worst":
            return builders.best_vs_worst(indexes, rewards)
        case "random":
            return builders.random(indexes, rewards, settings.top, settings.seed, lr_id)
        case "winners_only":
            return builders.winners_only(indexes, rewards, settings.top)


def _rewards(members: list[tables.Row], rewarded: list[str], path: Path) -> NDArray[np.float64]:
    """R `[M]` of one group from its raw scores.

    Raises:
        BadInput: a candidate has no score by a rewarded metric.
    """
    for row in members:
        lacking = [name for name in rewarded if row.get(name) is None]
        if lacking:
            raise BadInput(
                f"{path}: candidate {row['index']} of {row['lr_id']} has no score by the rewarded metrics {lacking}; "
                "run the score stage again"
            )
    return group_rewards({name: np.array([row[name] for row in members], dtype=np.float64) for name in rewarded})
