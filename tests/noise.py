"""Which lines of stderr are a library's own, which nobody asked for."""

import re

OURS = [
    r"\d\d:\d\d:\d\d dp2o\.\w+ \S.*",
    r"dvc\.yaml: \w+ depends on \S+ (now|no more), as params\.yaml names it( no more)?",
    r"[^:%|\r]+: +\d+%\|[^\r]*\| \d+/\d+ \[[^\r]*\]",
]
"""Lines that may come to stderr of a command that does its work: the log, what dvc.yaml follows, and progress, of which
there is a line a minute (components/progress.py). A bar that is drawn over itself is none of them."""


def not_ours(said: str) -> list[str]:
    """Lines of stderr that are nothing of ours."""
    return [line for line in said.split("\n") if line and not any(re.fullmatch(kind, line) for kind in OURS)]
