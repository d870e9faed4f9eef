"""The commit of the code that runs: as git tells it, or, where the code is no checkout, as a task told it."""

import logging
import os
from pathlib import Path

from components.storage import git

logger = logging.getLogger("dp2o.commit")

UNKNOWN = "unknown"
BUT_WRITTEN = (".", *(f":(exclude){path}" for path in ("dvc.lock", "dvc.sha256.json", "reports")))
"""For `git status`: all but what a pipeline run itself writes."""
COMMIT_VARIABLE, DIRTY_VARIABLE = "DP2O_COMMIT", "DP2O_DIRTY"


def environment(commit: str, dirty: bool) -> dict[str, str]:
    """Environment of a process whose code is that commit; where it is unknown, the process asks git."""
    return {COMMIT_VARIABLE: commit, DIRTY_VARIABLE: str(dirty).lower() if commit else ""}


def sha_of(root: Path) -> str:
    """Commit of the code in `root`; `unknown`, with a warning, outside git."""
    return os.environ.get(COMMIT_VARIABLE) or _git(root, "rev-parse", "HEAD")


def dirtiness_of(root: Path) -> str:
    """`true` if files differ from the commit, other than those that a pipeline run itself writes."""
    if os.environ.get(DIRTY_VARIABLE):
        return os.environ[DIRTY_VARIABLE]
    # `dvc repro` itself rewrites dvc.lock and the reports kept in git; they say nothing about the code.
    status = _git(root, "status", "--porcelain", "--", *BUT_WRITTEN)
    return UNKNOWN if status == UNKNOWN else str(bool(status)).lower()


def _git(root: Path, *arguments: str) -> str:
    done = git.call(root, *arguments)
    if done.returncode != 0:
        logger.warning("git %s: %s: recorded as unknown", " ".join(arguments[:1]), done.stderr.strip())
        return UNKNOWN
    return done.stdout.strip()
