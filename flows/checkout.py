"""The git checkout that a flow works in: the user's own folder, or a clone of a branch that is committed and pushed."""

import logging
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from components.artifacts.temporary import held_folder
from components.errors import BadInput, ResumeLater
from flows.project import Commit

logger = logging.getLogger("dp2o.flows")

AUTHOR = ("-c", "user.name=dp2o", "-c", "user.email=dp2o@localhost")
"""Of commits, where git knows nobody."""
_PUSHES = 3


@dataclass(frozen=True)
class Checkout:
    """A work tree.

    Attributes:
        root: the project.
        branch: where commits are pushed; None: nothing is committed, as with `dvc repro`.
        repository: where the clone is from.
    """

    root: Path
    branch: str | None
    repository: str

    @property
    def commit(self) -> Commit:
        """Of the code; empty outside git."""
        try:
            sha = git(self.root, "rev-parse", "HEAD")
            changes = git(self.root, "status", "--porcelain", "--", ".", ":(exclude)dvc.lock", ":(exclude)reports")
        except BadInput:
            return Commit()
        return Commit(sha, bool(changes))

    def save(self, paths: Sequence[str], message: str) -> str | None:
        """Commit these files and push; the commit, or None where there is nothing to commit or no branch.

        A branch that moved meanwhile is rebased upon, if what moved is none of these files.

        Raises:
            BadInput: it moved in these files; the commit is on a branch of its own, which the message names.
            ResumeLater: the repository cannot be reached.
        """
        if self.branch is None:
            return None
        git(self.root, "add", "--", *paths)
        if not git(self.root, "status", "--porcelain", "--untracked-files=no"):
            return None
        known = [] if _known(self.root) else AUTHOR
        git(self.root, *known, "commit", "-q", "-m", message)
        for _ in range(_PUSHES):
            pushed = _git(self.root, "push", "-q", "origin", f"HEAD:refs/heads/{self.branch}")
            if pushed.returncode == 0:
                return git(self.root, "rev-parse", "HEAD")
            if "non-fast-forward" not in pushed.stderr and "fetch first" not in pushed.stderr:
                raise ResumeLater(f"git push to {self.repository} failed: {pushed.stderr.strip()}; run the same again")
            git(self.root, "fetch", "-q", "origin", self.branch)
            if _git(self.root, *known, "rebase", "-q", "FETCH_HEAD").returncode != 0:
                _git(self.root, "rebase", "--abort")
                break
        sha = git(self.root, "rev-parse", "HEAD")
        aside = f"dp2o/{sha[:12]}"
        git(self.root, "push", "-q", "origin", f"HEAD:refs/heads/{aside}")
        raise BadInput(
            f"{self.branch} of {self.repository} got other results meanwhile: this run's are on branch {aside}; "
            "look at both, and merge or delete it"
        )


@contextmanager
def checked_out(repository: str, branch: str | None, folder: Path | None = None) -> Iterator[Checkout]:
    """The folder `repository` itself where no branch is named, else a clone of that branch, removed at the end.

    Args:
        folder: where the clone goes; default: a temporary one.

    Raises:
        BadInput: there is no such folder, repository or branch.
    """
    if branch is None:
        root = Path(repository)
        if not root.is_dir():
            raise BadInput(f"repository {repository} is no folder here: name a branch, so that it is cloned")
        yield Checkout(root.resolve(), None, repository)
        return
    source = str(Path(repository).resolve()) if Path(repository).exists() else repository
    with held_folder("dp2o-clone-", folder or Path(tempfile.gettempdir())) as temporary:
        root = temporary / "project"
        cloned = _git(temporary, "clone", "-q", "--single-branch", "--branch", branch, source, str(root))
        if cloned.returncode != 0:
            raise BadInput(f"branch {branch} of {repository} cannot be cloned: {cloned.stderr.strip()}")
        yield Checkout(root, branch, repository)


def git(root: Path, *arguments: str) -> str:
    """Output of a git command.

    Raises:
        BadInput: it failed.
    """
    done = _git(root, *arguments)
    if done.returncode != 0:
        raise BadInput(f"git {' '.join(arguments)} in {root}: {done.stderr.strip()}")
    return done.stdout.strip()


def _git(root: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)


def _known(root: Path) -> bool:
    """Whether git knows who commits."""
    return _git(root, "config", "user.email").returncode == 0
