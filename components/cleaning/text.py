"""What is free, and what was removed, for people and for scripts. Pure."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from components.cleaning.collect import Found
from components.cleaning.inventory import Entry

DAY = 86400.0


@dataclass(frozen=True)
class Row:
    """Things that are shown together.

    Attributes:
        age: seconds since the newest of them was written or used.
    """

    group: str
    why: str
    count: int
    size: int
    age: float


def rows(found: Found) -> list[Row]:
    """The largest first."""
    by_group: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    for entry in found.entries:
        by_group[entry.group, entry.why].append(entry)
    made = [
        Row(
            group, why, len(entries), sum(one.size for one in entries), found.when - max(one.changed for one in entries)
        )
        for (group, why), entries in by_group.items()
    ]
    return sorted(made, key=lambda row: (-row.size, row.group))


def table(found: Found) -> str:
    """The rows, their sum, who is at work, and what could not be told."""
    lines = []
    listed = rows(found)
    if listed:
        cells = [("what", "things", "size", "age", "why it is free")]
        cells += [(row.group, str(row.count), as_size(row.size), as_age(row.age), row.why) for row in listed]
        widths = [max(len(row[column]) for row in cells) for column in range(4)]
        for what, *numbers, why in cells:
            right = "  ".join(number.rjust(width) for number, width in zip(numbers, widths[1:], strict=True))
            lines.append(f"{what.ljust(widths[0])}  {right}  {why}")
    lines.append(f"{len(found.entries)} things, {as_size(found.size)}, that nothing kept refers to")
    lines += [f"at work: {who}: nothing would be removed now" for who in found.at_work]
    lines += [f"note: {note}" for note in found.notes]
    return "\n".join(lines)


def as_json(found: Found, deleted: bool) -> dict[str, Any]:
    """Plain values, with each thing."""
    return {
        "deleted": deleted,
        "bytes": found.size,
        "things": [
            {
                "kind": entry.kind,
                "what": entry.key,
                "group": entry.group,
                "why": entry.why,
                "bytes": entry.size,
                "age_seconds": round(found.when - entry.changed, 1),
            }
            for entry in found.entries
        ],
        "kept_by": list(found.roots),
        "at_work": list(found.at_work),
        "notes": list(found.notes),
    }


def as_size(count: float) -> str:
    """Bytes in the unit that suits."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def as_age(seconds: float) -> str:
    """In days, or hours if it is less than two."""
    return f"{seconds / DAY:.0f} d" if seconds >= 2 * DAY else f"{max(seconds, 0.0) / 3600:.0f} h"


def parsed_age(text: str) -> float:
    """Seconds of `30d`, `12h`, `0d`.

    Raises:
        ValueError: it is none.
    """
    units = {"d": DAY, "h": 3600.0, "w": 7 * DAY}
    number = text[:-1]
    if text[-1:] not in units or not number.isdecimal():
        raise ValueError(f"{text!r} is no age; write 30d, 12h or 4w")
    return int(number) * units[text[-1]]
