"""Which LR image belongs to which HR image, by their names as the data sets have them. Pure.

RealSR has `Canon_001_LR4.png` and `Canon_001_HR.png` in one folder, DRealSR `test_LR/sony_1_x1.png` and
`test_HR/sony_1_x4.png`, DIV2K `0801x4.png` and `0801.png`, others `LR/0001.png` and `HR/0001.png`; BasicSR adds `_s001`
to each part that it cuts a photo into.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Generic, TypeVar

_PART = re.compile(r"_s\d{3,}$")
_SIDE = re.compile(r"(?:^|[ ._-])(?P<side>LR|LQ|HR|HQ|GT)(?:[ ._-]?x?\d)?$", re.IGNORECASE)
_FACTOR = re.compile(r"(?:^|[ ._-]|(?<=\d))x(?P<factor>\d)$", re.IGNORECASE)

Item = TypeVar("Item")


@dataclass(frozen=True)
class Name:
    """What a file's path says, without its ending.

    Attributes:
        key: the path without the marks of a side: the same on both sides.
        scene: the key without the number of a part.
        side: `lr` or `hr` where a mark says so, of the file or of the nearest folder; else empty.
        factor: of a mark `x4`; 0 without one.
    """

    key: str
    scene: str
    side: str
    factor: int

    @classmethod
    def of(cls, path: str) -> Name:
        """Of a path relative to its folder, with slashes."""
        whole = PurePosixPath(path)
        part = _PART.search(whole.stem)
        stem = whole.stem[: part.start()] if part else whole.stem
        kept: list[str] = []
        side, factor = "", 0
        for piece in (*whole.parent.parts, stem):
            found = _SIDE.search(piece)
            if found:
                side = "lr" if found["side"].upper() in ("LR", "LQ") else "hr"
            elif found := _FACTOR.search(piece):
                factor = int(found["factor"])
            left = piece[: found.start()] if found else piece
            kept += [left] * bool(left)
        scene = "/".join(kept)
        return cls(scene + (part.group() if part else ""), scene, side, factor)


@dataclass(frozen=True)
class Match(Generic[Item]):
    """An LR and an HR that belong together; `scene` is the same for parts of one photo."""

    lr: Item
    hr: Item
    scene: str


Loose = list[tuple[Item, str]]
"""What belongs to nothing, each with the reason."""


def in_two_folders(
    lrs: Sequence[Item], hrs: Sequence[Item], name_of: Callable[[Item], str]
) -> tuple[list[Match[Item]], Loose[Item]]:
    """Pairs of an LR folder with an HR folder, in the order of the LR images: by equal names, else by equal keys.

    Returns:
        Pairs, and the files that have no partner or more than one.
    """
    matches, left_lrs, left_hrs = _joined(lrs, hrs, lambda item: _without_ending(name_of(item)), name_of)
    by_key, left_lrs, left_hrs = _joined(left_lrs, left_hrs, lambda item: Name.of(name_of(item)).key, name_of)
    matches += by_key
    loose: Loose[Item] = []
    for side, items, others in (("LR", left_lrs, left_hrs), ("HR", left_hrs, left_lrs)):
        counts = [_counted(items, name_of), _counted(others, name_of)]
        other = "HR" if side == "LR" else "LR"
        loose += [(item, _why(Name.of(name_of(item)).key, side, other, *counts)) for item in items]
    order = {name_of(lr): place for place, lr in enumerate(lrs)}
    return sorted(matches, key=lambda match: order[name_of(match.lr)]), loose


def in_one_folder(items: Sequence[Item], name_of: Callable[[Item], str]) -> tuple[list[Match[Item]], Loose[Item]]:
    """Pairs of one folder, in the order of their keys: two files of one key, whose names tell the sides apart.

    Where nothing says LR or HR, `x1` is the LR of `x4`, and `x4` that of a name without a factor.

    Returns:
        As `in_two_folders`.
    """
    groups: defaultdict[str, list[tuple[Name, Item]]] = defaultdict(list)
    for item in items:
        name = Name.of(name_of(item))
        groups[name.key].append((name, item))
    matches: list[Match[Item]] = []
    loose: Loose[Item] = []
    for key, group in groups.items():
        sides = _sides([name for name, _ in group])
        if sides is not None:
            matches.append(Match(group[sides[0]][1], group[sides[1]][1], group[0][0].scene))
            continue
        if len(group) == 1:
            why = f"no other file of the folder is named {key} with the mark of the other side, such as _LR4 and _HR"
        else:
            why = f"{len(group)} files are named {key}, and their names do not say which is the LR and which the HR"
        loose += [(item, why) for _, item in group]
    return matches, loose


def _sides(names: list[Name]) -> tuple[int, int] | None:
    """Places of LR and HR of a group of two."""
    if len(names) != 2:
        return None
    said = [name.side for name in names]
    if set(said) == {"lr", "hr"}:
        return said.index("lr"), said.index("hr")
    if said[0] or said[1]:
        return None
    factors = [name.factor for name in names]
    if 1 in factors and max(factors) > 1:
        return factors.index(1), 1 - factors.index(1)
    if 0 in factors and max(factors) > 1:
        return 1 - factors.index(0), factors.index(0)
    return None


def _joined(
    lrs: Sequence[Item], hrs: Sequence[Item], key_of: Callable[[Item], str], name_of: Callable[[Item], str]
) -> tuple[list[Match[Item]], list[Item], list[Item]]:
    """Pairs of those whose key no other file of their side has, and what is left of both."""
    sides = [_grouped(lrs, key_of), _grouped(hrs, key_of)]
    both = {key for key in sides[0].keys() & sides[1].keys() if len(sides[0][key]) == len(sides[1][key]) == 1}
    matches = [Match(lr, sides[1][key_of(lr)][0], Name.of(name_of(lr)).scene) for lr in lrs if key_of(lr) in both]
    left = [[item for item in items if key_of(item) not in both] for items in (lrs, hrs)]
    return matches, left[0], left[1]


def _grouped(items: Iterable[Item], key_of: Callable[[Item], str]) -> dict[str, list[Item]]:
    found: defaultdict[str, list[Item]] = defaultdict(list)
    for item in items:
        found[key_of(item)].append(item)
    return found


def _counted(items: Iterable[Item], name_of: Callable[[Item], str]) -> dict[str, int]:
    return {key: len(group) for key, group in _grouped(items, lambda item: Name.of(name_of(item)).key).items()}


def _why(key: str, side: str, other: str, own: dict[str, int], others: dict[str, int]) -> str:
    if key not in others:
        return f"no {other} image is named {key}"
    return f"{own[key]} {side} and {others[key]} {other} images are named {key}: which belong together is not known"


def _without_ending(path: str) -> str:
    return path[: -len(PurePosixPath(path).suffix)] if PurePosixPath(path).suffix else path
