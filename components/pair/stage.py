"""Scores to preference pairs: reward over the first M candidates, rank, pair, filter, weigh."""

import logging
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from components.artifacts import paths, tables
from components.artifacts.shards import Shard
from components.errors import BadInput
from components.pair import weights
from components.pair.builders import build
from components.pair.filters import filtered
from components.pair.pairs import Pair
from components.pair.voted import votes_of
from components.rewards.alignment import Values, rewarded_metrics
from components.rewards.group import GroupScores, aligned, deviations
from components.rewards.scalarisers import rewards_of
from components.settings import PairSettings, Settings

logger = logging.getLogger("dp2o.pair")


@dataclass(frozen=True)
class Paired:
    """A group with pairs: its scores, its rewards `[M]`, and the pairs."""

    scores: GroupScores
    rewards: Values
    pairs: list[Pair]


@dataclass
class SetAside:
    """Groups without pairs, by the reason; and groups whose pairs stand in for those of the builder's own rule."""

    small: int = 0
    unpaired: int = 0
    emptied: int = 0
    stood_in: int = 0


def _way_out(set_aside: SetAside, settings: PairSettings) -> str:
    """What helps against each reason for which groups are without pairs."""
    ways = {
        "lower pair.top, or look into data/score_quarantine.parquet for what has no score": set_aside.small,
        (
            "have people vote on more candidates (`dp2o study new NAME --candidates`)"
            if settings.builder.votes_file
            else "take metrics in score.fr and score.nr that tell the candidates apart, or another pair.builder"
        ): set_aside.unpaired,
        "loosen pair.filters": set_aside.emptied,
    }
    return "; ".join(way for way, groups in ways.items() if groups) or "raise prepare.split.align or add photos"


def run(settings: Settings, root: Path, shard: Shard | None = None) -> None:
    """Publish data/groups.parquet and data/pairs.parquet for the align split.

    Raises:
        BadInput: a shard is asked for (weights need all groups at once), scores lack a metric or name an LR image that
            the dataset lacks, no group has pairs, votes are of other candidates, or a part that the user brought
            cannot be used.
    """
    if shard is not None:
        raise BadInput("pair cannot be sharded: its weights average over all groups; run it without --shard")
    path = root / paths.SCORES
    set_aside = SetAside()
    groups = _with_votes(group_scores(settings, root, path, set_aside), settings, root)
    group_rows, pair_rows = rows_of(groups, settings.pair, set_aside)
    if not pair_rows:
        emptied = f", {set_aside.emptied} whose pairs the filters dropped" if set_aside.emptied else ""
        raise BadInput(
            f"{path}: no group of the align split gives a pair ({set_aside.small} with fewer than "
            f"{settings.pair.builder.least} scored candidates, {set_aside.unpaired} of which pair.builder "
            f"{settings.pair.builder.kind} makes none{emptied}); " + _way_out(set_aside, settings.pair)
        )
    for path, schema, found in (
        (root / paths.GROUPS, tables.GROUPS, group_rows),
        (root / paths.PAIRS, tables.PAIRS, pair_rows),
    ):
        tables.write_rows(path, tables.with_dial(schema) if settings.pair.dial else schema, found)
    logger.info(
        "%d pairs in %d groups (%s); set aside: %d groups with too few scored candidates, %d of which the builder "
        "makes none, %d whose pairs the filters dropped; weights vary by %.2f of their mean",
        len(pair_rows), len(group_rows), settings.pair.builder, set_aside.small, set_aside.unpaired, set_aside.emptied,
        weights.variation(np.array([row["weight"] for row in pair_rows])),
    )  # fmt: skip
    if set_aside.stood_in:
        logger.info(
            "%d groups in which %s found no pair by its own rule have the best against the worst",
            set_aside.stood_in, settings.pair.builder.kind,
        )  # fmt: skip


def group_scores(settings: Settings, root: Path, path: Path, set_aside: SetAside) -> list[GroupScores]:
    """Rewarded scores of every group that is large enough, by lr_id.

    Raises:
        BadInput: a group is of an LR image that the dataset lacks, or a rewarded metric has no score of a candidate.
    """
    has_hr = {row["lr_id"]: bool(row["has_hr"]) for row in tables.read_rows(root / paths.DATASET_ROWS, tables.DATASET)}
    by_group: dict[str, list[tables.Row]] = defaultdict(list)
    limit = settings.pair.candidates or settings.generate.candidates
    for row in tables.read_any(path)[1]:
        if row["split"] == "align" and row["index"] < limit:
            by_group[row["lr_id"]].append(row)
    found: dict[str, tuple[tuple[int, ...], dict[str, Values]]] = {}
    judges = settings.score.judges
    builder_judges = [judge for judge in judges if judge.kind in settings.pair.builder.judges]
    judged: dict[str, dict[str, Values]] = {}
    for lr_id in sorted(by_group):
        members = sorted(by_group[lr_id], key=lambda row: int(row["index"]))
        if len(members) < settings.pair.builder.least:
            set_aside.small += 1
            continue
        if lr_id not in has_hr:
            raise BadInput(
                f"{path} has LR image {lr_id}, which data/dataset.parquet lacks; run generate and score again"
            )
        metrics = rewarded_metrics(settings.score.fr, settings.score.nr, has_hr[lr_id])
        metrics += [judge.column for judge in judges if judge.side]
        found[lr_id] = (tuple(int(row["index"]) for row in members), _columns(members, metrics, path))
        asked = {judge.kind: _columns(members, [judge.column], path) for judge in builder_judges}
        judged[lr_id] = {kind: next(iter(column.values())) for kind, column in asked.items()}
    tau = deviations(scores for _, scores in found.values())
    return [
        GroupScores(
            lr_id,
            indexes,
            tuple(scores),
            aligned(scores),
            np.array([tau[name] for name in scores]),
            judged=judged[lr_id],
        )
        for lr_id, (indexes, scores) in found.items()
    ]


def _with_votes(groups: list[GroupScores], settings: Settings, root: Path) -> list[GroupScores]:
    """The same with people's votes, where the builder goes by them."""
    file = settings.pair.builder.votes_file
    if file is None:
        return groups
    limit = settings.pair.candidates or settings.generate.candidates
    known = votes_of(root, file, {scores.lr_id for scores in groups}, limit)
    return [replace(scores, votes=known.get(scores.lr_id, ())) for scores in groups]


def _paired(scores: GroupScores, settings: PairSettings, set_aside: SetAside) -> Paired | None:
    """A group with its pairs; None where it gives none."""
    rewards = rewards_of(scores, settings.scalariser)
    built = build(scores, rewards, settings.builder)
    if not built:
        set_aside.unpaired += 1
        return None
    pairs = filtered(scores, built, settings.filters)
    if not pairs:
        set_aside.emptied += 1
        return None
    set_aside.stood_in += any(pair.stand_in for pair in pairs)
    return Paired(scores, rewards, pairs)


def rows_of(
    groups: list[GroupScores], settings: PairSettings, set_aside: SetAside
) -> tuple[list[tables.Row], list[tables.Row]]:
    """`rows` of all groups; with a dial those of each of its places, whose rewards and weights are its own."""
    group_rows: list[tables.Row] = []
    pair_rows: list[tables.Row] = []
    for place in settings.dial or (None,):
        own = settings if place is None else settings.at(place)
        marked: tables.Row = {} if place is None else {tables.PREFERENCE.name: place}
        paired = [one for scores in groups if (one := _paired(scores, own, set_aside))]
        if not paired:
            continue
        own_groups, own_pairs = rows(paired, own)
        group_rows += [row | marked for row in own_groups]
        pair_rows += [row | marked for row in own_pairs]
    return group_rows, pair_rows


def rows(paired: list[Paired], settings: PairSettings) -> tuple[list[tables.Row], list[tables.Row]]:
    """Rows of data/groups.parquet and data/pairs.parquet, with their weights."""
    sigmas = np.array([weights.spread(one.rewards) for one in paired])
    used = iter(_weights(paired, sigmas, settings))
    group_rows: list[tables.Row] = []
    pair_rows: list[tables.Row] = []
    for one, sigma, w_inter in zip(paired, sigmas, weights.inter_weights(sigmas), strict=True):
        group_rows.append(
            {
                "lr_id": one.scores.lr_id,
                "split": "align",
                "size": len(one.scores.indexes),
                "sigma": float(sigma),
                "mu_gap": float(np.mean([abs(pair.gap) for pair in one.pairs])),
                "w_inter": float(w_inter),
                "candidates": list(one.scores.indexes),
                "rewards": one.rewards.tolist(),
            }
        )
        for pair, w_intra in zip(one.pairs, weights.intra_weights(one.pairs), strict=True):
            pair_rows.append(
                {
                    "lr_id": one.scores.lr_id,
                    "winner": pair.winner,
                    "loser": pair.loser,
                    "gap": pair.gap,
                    "margin": pair.margin,
                    "label_noise": pair.label_noise,
                    "target": pair.target,
                    "w_intra": float(w_intra),
                    "w_inter": float(w_inter),
                    "weight": float(next(used) * pair.weight),
                }
            )
    return group_rows, pair_rows


def _weights(paired: list[Paired], sigmas: Values, settings: PairSettings) -> Values:
    """w_intra * w_inter of all pairs, as far as the settings ask for them, raised to `weight_power`."""
    products = [
        (w_intra if settings.intra_weights else 1.0) * (w_inter if settings.inter_weights else 1.0)
        for one, w_inter in zip(paired, weights.inter_weights(sigmas), strict=True)
        for w_intra in weights.intra_weights(one.pairs)
    ]
    return weights.raised(np.array(products), settings.weight_power)


def _columns(members: list[tables.Row], rewarded: list[str], path: Path) -> dict[str, Values]:
    """Raw scores `[M]` of one group by rewarded metric.

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
    return {name: np.array([row[name] for row in members], dtype=np.float64) for name in rewarded}
