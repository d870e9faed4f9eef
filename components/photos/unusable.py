"""Why a picture file cannot be used."""

from __future__ import annotations

from enum import StrEnum


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
    HOSTILE = "hostile"
    """Something else as well as a picture, or what its decoder died of: found by intake, where strangers send files."""


class UnusablePhotoError(Exception):
    """The file is no photo to work with; `reason` is for machines, `detail` for people."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
