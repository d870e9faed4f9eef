"""What may stand on stderr of a run that goes well: lines of ours, and those of others that are named here."""

import re

KNOWN = (
    r"\d\d:\d\d:\d\d dp2o\.\w+ .*",  # a stage's log
    r"[\w ./-]+: +\d+%\|.*",  # progress, a line a minute
    r"(Successfully registered model|Created version) '.*",  # MLflow, of the registration
)


def unknown_lines(stderr: str) -> list[str]:
    """Lines that nobody asked for."""
    return [line for line in stderr.splitlines() if line.strip() and not any(re.fullmatch(k, line) for k in KNOWN)]
