"""Votes on candidates as the stage `pair` reads them."""

from collections.abc import Sequence
from pathlib import Path

from components.artifacts import tables
from components.errors import BadInput
from components.study import manifest as frozen
from components.study import votes
from components.study.manifest import Manifest
from components.study.result import counting
from components.study.votes import Vote


def rows_of_studies(root: Path, names: Sequence[str]) -> list[tables.Row]:
    """Rows of data/votes.parquet: what counts in the result, of raters who are not excluded.

    Raises:
        BadInput: a study is missing, damaged or of models, or has no vote that counts.
    """
    found: list[tables.Row] = []
    for name in dict.fromkeys(names):
        folder = frozen.found(root, name)
        manifest = frozen.read(folder)
        if manifest.kind != "candidates":
            raise BadInput(
                f"study {name} compares models; votes to train on come of `dp2o study new NAME --candidates`"
            )
        found += _rows(manifest, counting(manifest, votes.read(folder).standing))
    if not found:
        raise BadInput(f"{', '.join(names)}: there is no vote that counts; `dp2o study result` shows why")
    return sorted(found, key=lambda row: (row["lr_id"], row["first"], row["second"], row["study"], row["rater"]))


def _rows(manifest: Manifest, counted: Sequence[Vote]) -> list[tables.Row]:
    by_id, rows = manifest.by_id, []
    for vote in counted:
        one = by_id[vote.comparison]
        rows.append({
            "lr_id": one.lr_id,
            "first": one.first.index,
            "second": one.second.index,
            "first_digest": one.first.pixels,
            "second_digest": one.second.pixels,
            "first_preferred": vote.first,
            "rater": vote.rater,
            "study": manifest.digest,
        })  # fmt: skip
    return rows
