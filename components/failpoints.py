"""Failpoints: named points of work that must survive being cut off, at which tests kill it or interfere."""

from collections.abc import Callable

Failpoint = Callable[[str], None]
"""Called with the name of every point that the work comes to."""


def no_failpoint(point: str) -> None:
    """The `Failpoint` of every day: nothing happens."""
