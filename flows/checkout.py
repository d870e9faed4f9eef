"""The git checkout that a flow works in: the user's own folder, or a clone of a branch that is committed and pushed."""

import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from components.errors import BadInput, ResumeLater
from components.storage import git
from components.storage.commit import BUT_WRITTEN
from components.storage.temporary import held_folder
from flows.fence import present
from flows.project import Commit

logger = logging.getLogger("dp2o.flows")

AUTHOR = ("user.name=dp2o", "user.email=dp2o@localhost")
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
            sha = git.output(self.root, "rev-parse", "HEAD")
            changes = git.output(self.root, "status", "--porcelain", "--", *BUT_WRITTEN)
        except BadInput:
            return Commit()
        return Commit(sha, bool(changes))

    def save(self, paths: Sequence[str], message: str) -> str | None:
        """Commit these files and push; the commit, or None where there is nothing to commit or no branch.

        A branch that moved meanwhile is rebased upon, if what moved is none of these files.

        Raises:
            BadInput: it moved in these files; the commit is on a branch of its own, which the message names.
            ResumeLater: the repository cannot be reached.
            LostLeaseError: the lease that this is done under is another's by now; nothing is pushed.
        """
        if self.branch is None:
            return None
        root, ref = self.root, git.heads(self.branch)
        git.output(root, "add", "--", *paths)
        if not git.output(root, "status", "--porcelain", "--untracked-files=no"):
            return None
        known = () if _known(root) else AUTHOR
        fence = present()
        trailer = () if fence is None else ("--trailer", fence.trailer)
        git.output(root, "commit", "-q", "-m", message, *trailer, settings=known)
        for _ in range(_PUSHES):
            if fence is not None:
                fence.hold(root)
            pushed = git.call(root, "push", "-q", git.END, "origin", f"HEAD:{ref}", seconds=git.TRANSFER)
            if pushed.returncode == 0:
                return git.output(root, "rev-parse", "HEAD")
            if "non-fast-forward" not in pushed.stderr and "fetch first" not in pushed.stderr:
                raise ResumeLater(f"git push to {self.repository} failed: {pushed.stderr.strip()}; run the same again")
            git.output(root, "fetch", "-q", "--no-tags", git.END, "origin", ref, seconds=git.TRANSFER)
            if git.call(root, "rebase", "-q", "FETCH_HEAD", settings=known, seconds=git.TRANSFER).returncode != 0:
                git.call(root, "rebase", "--abort")
                break
            git.check_links(root)
        sha = git.output(root, "rev-parse", "HEAD")
        aside = f"dp2o/{sha[:12]}"
        git.output(root, "push", "-q", git.END, "origin", f"HEAD:{git.heads(aside)}", seconds=git.TRANSFER)
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
        git.clone(source, branch, root)
        yield Checkout(root, branch, repository)


def _known(root: Path) -> bool:
    """Whether git knows who commits."""
    return git.call(root, "config", "user.email").returncode == 0
