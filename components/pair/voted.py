"""People's votes on candidates, held to the candidates that are here."""

import logging
from collections import Counter, defaultdict
from collections.abc import Collection
from pathlib import Path

from components.artifacts import paths, tables
from components.errors import BadInput
from components.rewards.group import Voted

logger = logging.getLogger("dp2o.pair")


def votes_of(root: Path, file: Path, lr_ids: Collection[str], limit: int) -> dict[str, tuple[Voted, ...]]:
    """What people said, by LR image and in the order of candidate indexes.

    Args:
        file: as pair.builder names it, relative to `root`.
        lr_ids: of the groups that pairs are made of; votes on others are left out, and counted in the log.
        limit: candidate indexes from it on are left out likewise.

    Raises:
        BadInput: the file is missing or damaged, or was made of other candidates.
    """
    path = root / file
    if not path.is_file():
        raise BadInput(
            f"pair.builder votes reads {path}, which does not exist: `dp2o study new NAME --candidates` makes a study, "
            "and `dp2o study votes NAME` publishes what people said"
        )
    made = {
        (row["lr_id"], row["index"]): row["image_digest"]
        for row in tables.read_rows(root / paths.CANDIDATE_ROWS, tables.CANDIDATES)
    }
    counted: dict[tuple[str, int, int], list[float]] = defaultdict(list)
    left_out: Counter[str] = Counter()
    for number, row in enumerate(tables.read_rows(path, tables.VOTES)):
        lr_id, first, second = row["lr_id"], row["first"], row["second"]
        if lr_id not in lr_ids:
            left_out["other groups"] += 1
        elif max(first, second) >= limit or any((lr_id, index) not in made for index in (first, second)):
            left_out["candidates that are not used"] += 1
        else:
            _same(path, number, row, made)
            key, value = (lr_id, min(first, second), max(first, second)), row["first_preferred"]
            counted[key].append(value if first < second else 1.0 - value)
    found: dict[str, list[Voted]] = defaultdict(list)
    for (lr_id, first, second), values in sorted(counted.items()):
        found[lr_id].append(Voted(first, second, len(values), sum(values)))
    logger.info(
        "%d votes on %d pairs of candidates, in %d of %d groups; groups without votes give no pairs%s",
        sum(map(len, counted.values())), len(counted), len(found), len(lr_ids),
        "".join(f"; {count} votes on {what} are left out" for what, count in sorted(left_out.items())),
    )  # fmt: skip
    return {lr_id: tuple(own) for lr_id, own in found.items()}


def _same(path: Path, number: int, row: tables.Row, made: dict[tuple[str, int], str]) -> None:
    """Refuse a vote on another picture than the candidate that has its index now."""
    for side in ("first", "second"):
        here, voted = made[row["lr_id"], row[side]], row[f"{side}_digest"]
        if here != voted:
            raise BadInput(
                f"{path}, row {number}: the vote is on a candidate {row[side]} of {row['lr_id']} with digest {voted}, "
                f"and data/candidates.parquet has {here}: the votes are of other candidates; bring those back, or make "
                "a new study of these"
            )
