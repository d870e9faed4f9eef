"""What must hold between settings and the images that there are: each split has enough of them for its use. Pure."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from components.artifacts.held_out import held_out_photos
from components.errors import BadInput

if TYPE_CHECKING:
    from components.settings.project import Settings

Rows = Sequence[Mapping[str, Any]]
"""Rows of data/dataset.parquet."""


def check_images(settings: "Settings", rows: Rows) -> None:
    """Refuse a dataset with which a later stage would fail, before it is published.

    Raises:
        BadInput: with all there is.
    """
    found = [*_empty_splits(settings, rows), *_not_enough(settings, rows)]
    if found:
        raise BadInput("\n".join(found))


def check_suffices(settings: "Settings", rows: Rows) -> None:
    """Refuse settings that are newer than the dataset, and that it does not suffice for.

    Raises:
        BadInput: with all there is.
    """
    found = list(_not_enough(settings, rows))
    if found:
        raise BadInput("\n".join(found))


def _not_enough(settings: "Settings", rows: Rows) -> Iterator[str]:
    yield from _single_restorations(settings, rows)
    yield from _all_held_out(settings, rows)


def _empty_splits(settings: "Settings", rows: Rows) -> Iterator[str]:
    there = {row["split"] for row in rows}
    for split in ("align", "validation", "test"):
        if split not in there:
            yield (
                f"no usable image is in the {split} split: add photos to prepare.sources, or give "
                f"prepare.split.{split} a larger share"
            )


def _single_restorations(settings: "Settings", rows: Rows) -> Iterator[str]:
    """Rewards are normalised between the worst and the best of several restorations: one alone has no range."""
    train, evaluate = settings.train, settings.evaluate
    count = {
        split: [sum(row["split"] == split and row["has_hr"] == has_hr for row in rows) for has_hr in (True, False)]
        for split in ("validation", "test")
    }
    validation = next((number for number in count["validation"] if number), 0)  # those without HR where none has one
    if min(validation, train.validation_images) * train.validation_seeds == 1:
        yield (
            "validation has one image and one seed, and one restoration alone has no reward: set "
            "train.validation_seeds to 2" + (", or raise train.validation_images" if validation > 1 else "")
        )
    if evaluate.controls and min(validation, evaluate.control_images) == 1:
        yield (
            "evaluate.controls are tuned on one validation image, and one restoration alone has no reward: "
            + ("raise evaluate.control_images to 2" if validation > 1 else "add photos to prepare.sources")
            + ", or set evaluate.controls to []"
        )
    for number, what in zip(count["test"], ("with HR", "without HR"), strict=True):
        if number * evaluate.seeds == 1:
            yield (
                f"the test split has one image {what}, evaluate.seeds is 1, and one restoration alone has no reward: "
                "set evaluate.seeds to 2"
            )


def _all_held_out(settings: "Settings", rows: Rows) -> Iterator[str]:
    count = settings.train.held_out_groups
    photos = [row["source"] for row in rows if row["split"] == "align"]
    if not count or not photos:
        return
    groups = Counter(photos)
    if len(held_out_photos(photos, groups, count, settings.train.seed)) == len(groups):
        yield (
            f"train.held_out_groups {count} takes all {len(photos)} groups, as whole photos do: lower it, or add photos"
        )
