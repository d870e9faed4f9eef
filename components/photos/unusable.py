"""Why a picture file cannot be used."""

from __future__ import annotations

from enum import StrEnum

LONGEST_DETAIL = 500
"""Characters; what a decoder says may quote the file."""


class Reason(StrEnum):
    """Why an item is in quarantine; the values are part of the contract (column `reason`)."""

    UNREADABLE = "unreadable"
    TRUNCATED = "truncated"
    TOO_LARGE = "too_large"
    TOO_SMALL = "too_small"
    MULTIPLE_FRAMES = "multiple_frames"
    UNSUPPORTED = "unsupported"
    DUPLICATE = "duplicate"
    EMPTY = "empty"
    LINK = "link"
    """Leads nowhere, or back to where it is."""
    UNPAIRED = "unpaired"
    """Of a folder of pairs: without a partner, or with more than one."""
    MISALIGNED = "misaligned"
    """LR and HR of a pair are of another scale than the settings', or do not lie on each other."""
    HOSTILE = "hostile"
    """What its decoder died of, or took too long or too much memory for; in intake something else as well as a picture.
    """


class UnusablePhotoError(Exception):
    """The file is no photo to work with; `reason` is for machines, `detail` for people, in one printable line."""

    def __init__(self, reason: Reason, detail: str) -> None:
        detail = printable(detail[:LONGEST_DETAIL].strip())
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def printable(text: str) -> str:
    r"""`text` in one line that every file and terminal takes: bytes that are no UTF-8, line breaks and control
    characters become escapes as `\udcff` and `\n`, so that a stranger's name forges no line and breaks no table."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )
