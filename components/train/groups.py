"""Groups as training sees them: which candidates to load, and the pairs between them by position."""

from collections import defaultdict
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from components.artifacts import latents, paths
from components.artifacts.images import to_tensor
from components.artifacts.shards import ShardFolder, ShardReader
from components.artifacts.tables import Row
from components.errors import BadInput
from components.train.pairs import Pairs


@dataclass(frozen=True)
class Group:
    """The pairs of one LR, one entry a pair.

    Attributes:
        candidates: distinct candidate indexes in use, at most 2N.
        winner, loser: positions in `candidates`; loser is -1 where the pair has none.
        weight, gap: as in data/pairs.parquet.
        margin, label_noise, target: likewise; None where a pair has none.
        preference: place on the dial that the pairs are of, which the policy is told; None without a dial.
    """

    lr_id: str
    candidates: tuple[int, ...]
    winner: tuple[int, ...]
    loser: tuple[int, ...]
    weight: tuple[float, ...]
    gap: tuple[float, ...]
    margin: tuple[float, ...] | None = None
    label_noise: tuple[float, ...] | None = None
    target: tuple[float, ...] | None = None
    preference: float | None = None

    def by_position(self, device: torch.device) -> Pairs:
        """Pairs over errors of `candidates` (noise shared by the group)."""
        return self._pairs(torch.tensor(self.winner, device=device), torch.tensor(self.loser, device=device))

    def by_pair(self, device: torch.device, chosen: Sequence[int] | None = None) -> tuple[list[int], Pairs]:
        """Positions to compute errors of, and pairs over them (noise of each pair's own).

        All winners come first, then all losers, if there are any, so that pair p is at p and P + p: `[2P]`, or `[P]`.
        `chosen` are numbers of pairs; None is all of them.
        """
        group = self if chosen is None else self._of(chosen)
        count = len(group.winner)
        losers = [position for position in group.loser if position >= 0]
        first = torch.arange(count, device=device)
        second = first + count if losers else torch.full_like(first, -1)
        return [*group.winner, *losers], group._pairs(first, second)

    def _of(self, chosen: Sequence[int]) -> "Group":
        """The same with some of its pairs."""
        taken: dict[str, Any] = {}
        for name in ("winner", "loser", "weight", "gap", "margin", "label_noise", "target"):
            own = getattr(self, name)
            taken[name] = None if own is None else tuple(own[place] for place in chosen)
        return replace(self, **taken)

    def by_role(self, device: torch.device) -> tuple[list[int], Pairs, list[bool]]:
        """Positions to compute errors of, pairs over them, and which of them are losers (noise shared by the group).

        All candidates come first, in their order; one that wins in a pair and loses in another comes again at the end.
        """
        winning, losing = set(self.winner), {position for position in self.loser if position >= 0}
        both = sorted(winning & losing)
        again = {position: len(self.candidates) + place for place, position in enumerate(both)}
        rows = [*range(len(self.candidates)), *both]
        lost = [position in losing - winning for position in range(len(self.candidates))] + [True] * len(both)
        loser = torch.tensor([again.get(position, position) for position in self.loser], device=device)
        return rows, self._pairs(torch.tensor(self.winner, device=device), loser), lost

    def _pairs(self, winner: Tensor, loser: Tensor) -> Pairs:
        def column(values: tuple[float, ...] | None) -> Tensor | None:
            return None if values is None else torch.tensor(values, device=winner.device)

        return Pairs(
            winner,
            loser,
            torch.tensor(self.weight, device=winner.device),
            torch.tensor(self.gap, device=winner.device),
            column(self.margin),
            column(self.label_noise),
            column(self.target),
        )


def groups_of(pair_rows: Sequence[Row]) -> dict[str, Group]:
    """Groups by lr_id, with a dial by lr_id and place on it, from rows of data/pairs.parquet."""
    by_place: dict[tuple[str, float], list[Row]] = defaultdict(list)
    for row in pair_rows:
        by_place[row["lr_id"], row.get("preference") or 0.0].append(row)
    groups = {}
    for (lr_id, _), rows in sorted(by_place.items()):
        preference = rows[0].get("preference")
        used = sorted({row["winner"] for row in rows} | {row["loser"] for row in rows if row["loser"] >= 0})
        place = {index: position for position, index in enumerate(used)}
        groups[lr_id if preference is None else f"{lr_id} {preference}"] = Group(
            lr_id,
            tuple(used),
            tuple(place[row["winner"]] for row in rows),
            tuple(place.get(row["loser"], -1) for row in rows),
            tuple(row["weight"] for row in rows),
            tuple(row["gap"] for row in rows),
            _column(rows, "margin"),
            _column(rows, "label_noise"),
            _column(rows, "target"),
            preference,
        )
    return groups


def _column(rows: Sequence[Row], name: str) -> tuple[float, ...] | None:
    values = tuple(row[name] for row in rows)
    return None if None in values else values


class GroupImages:
    """LR and candidate images of groups, read from the tar shards when asked for."""

    def __init__(self, root: Path, dataset: Sequence[Row], candidates: Sequence[Row]) -> None:
        self._lr_shards = ShardFolder(root / paths.DATASET)
        self._candidate_shards = ShardFolder(root / paths.CANDIDATES)
        self._lr_row = {row["lr_id"]: row for row in dataset}
        self._candidate_shard = {(row["lr_id"], row["index"]): row["shard"] for row in candidates}

    def lr(self, lr_id: str) -> Tensor:
        """LR `[1, 3, h, w]` in [0, 1]."""
        return to_tensor(self._lr_shards[self._row(lr_id)["shard"]].image(f"{lr_id}.lr.png"))

    def hr(self, lr_id: str) -> Tensor:
        """HR `[1, 3, H, W]` in [0, 1] of an LR that has one."""
        return to_tensor(self._lr_shards[self._row(lr_id)["shard"]].image(f"{lr_id}.hr.png"))

    def prompt(self, lr_id: str) -> str:
        """Prompt of the LR; empty where there is none."""
        return str(self._row(lr_id)["prompt"])

    def candidates(self, lr_id: str, indexes: Sequence[int]) -> Tensor:
        """Candidates `[B, 3, H, W]` in [0, 1].

        Raises:
            BadInput: a pair names a candidate that data/candidates.parquet does not have.
        """
        return to_tensor(*(self._shard(lr_id, index).image(f"{lr_id}.{index:03d}.png") for index in indexes))

    def latents(self, lr_id: str, indexes: Sequence[int]) -> Tensor | None:
        """Stored clean latents `[B, ...]`, float32; None where generate stored none, as for a pixel-space backbone.

        Raises:
            BadInput: as `candidates`, or some have a latent and others none.
        """
        names = {index: latents.member(lr_id, index) for index in indexes}
        shards = {index: self._shard(lr_id, index) for index in indexes}
        stored = [index for index in indexes if names[index] in shards[index]]
        if not stored:
            return None
        if len(stored) < len(indexes):
            raise BadInput(
                f"data/candidates has latents of {len(stored)} of {len(indexes)} candidates of {lr_id}; "
                "remove data/candidates and run generate again"
            )
        read = [latents.decode(shards[index].read(names[index]), f"member {names[index]}") for index in indexes]
        return torch.stack(read).float()

    def _shard(self, lr_id: str, index: int) -> ShardReader:
        shard = self._candidate_shard.get((lr_id, index))
        if shard is None:
            raise BadInput(
                f"data/pairs.parquet names candidate {index} of {lr_id}, which data/candidates.parquet lacks; "
                "run generate, score and pair again"
            )
        return self._candidate_shards[shard]

    def _row(self, lr_id: str) -> Row:
        check_known([lr_id], self._lr_row)
        return self._lr_row[lr_id]


def check_known(lr_ids: Iterable[str], known: Container[str]) -> None:
    """Refuse pairs of an LR that is not `known`.

    Raises:
        BadInput: there are such pairs.
    """
    for lr_id in lr_ids:
        if lr_id not in known:
            raise BadInput(
                f"data/pairs.parquet names LR {lr_id}, which data/dataset.parquet lacks; run all stages again"
            )
