"""Names that follow from the work alone, so that a restarted flow finds what it started before."""

import hashlib
import re

from flows.launchers.base import Work

LONGEST = 63
"""Characters of a DNS label: the longest name of a Job, since its pods carry it in a label's value."""


def digest(work: Work) -> str:
    """Ten hex digits of (run, stage, shard, attempt)."""
    key = "\0".join((work.run, work.stage, work.shard, str(work.attempt)))
    return hashlib.sha256(key.encode()).hexdigest()[:10]


def name_of(work: Work) -> str:
    """A DNS label of at most 63 characters: readable, then unique, `generate-00002-of-00004-0-1f0c22ab9d`."""
    readable = re.sub(r"[^a-z0-9]+", "-", f"{work.stage}-{work.shard}".lower()).strip("-") or "work"
    tail = f"-{work.attempt}-{digest(work)}"
    if not readable[0].isalpha():
        readable = f"w-{readable}"
    return readable[: LONGEST - len(tail)].rstrip("-") + tail
