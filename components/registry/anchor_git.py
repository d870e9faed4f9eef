"""An anchor as the newest commit of a git branch: a repository takes no commit that does not follow its newest."""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from components.errors import BadInput, ResumeLater
from components.registry.anchor import Anchored, Token, as_bytes
from components.storage import git

AUTHOR = ("user.name=dp2o", "user.email=dp2o@localhost")
_HERE = "refs/heads/anchor"
_BEHIND = ("non-fast-forward", "fetch first", "cannot lock ref", "incorrect old value", "reference already exists")
"""What git says where another was first."""


@dataclass(frozen=True)
class GitAnchor:
    """A file a model on a branch of its own, which holds nothing else; its commits are all anchors there were.

    Attributes:
        repository: URL, or path of a repository.
        branch: made by the first write.
    """

    repository: str
    branch: str

    def __str__(self) -> str:
        return f"git+{self.repository}#{self.branch}"

    def read(self, name: str) -> tuple[bytes | None, Token]:
        """See `Anchor`; the token is the commit."""
        with tempfile.TemporaryDirectory(prefix="dp2o-anchor-") as folder:
            root = Path(folder)
            commit = self._fetched(root)
            shown = None if commit is None else git.call(root, "show", f"{commit}:{name}.json")
        if shown is None or shown.returncode != 0:
            return None, commit
        return shown.stdout.encode(), commit

    def write(self, name: str, value: Anchored, after: Token) -> bool:
        """See `Anchor`."""
        with tempfile.TemporaryDirectory(prefix="dp2o-anchor-") as folder:
            root = Path(folder)
            if self._fetched(root) != after:
                return False
            (root / "anchor.json").write_bytes(as_bytes(name, value))
            blob = git.output(root, "hash-object", "-w", "--no-filters", "anchor.json")
            if after is not None:
                git.output(root, "read-tree", after)
            git.output(root, "update-index", "--add", "--cacheinfo", f"100644,{blob},{name}.json")
            tree = git.output(root, "write-tree")
            parents = [] if after is None else ["-p", after]
            message = f"{name}: {value.number} records"
            commit = git.output(root, "commit-tree", tree, *parents, "-m", message, settings=AUTHOR)
            # Without force: the repository itself lets only one commit follow another.
            to = f"{commit}:{git.heads(self.branch)}"
            pushed = git.call(root, "push", "-q", git.END, self.repository, to, seconds=git.TRANSFER)
        if pushed.returncode == 0:
            return True
        if any(sign in pushed.stderr for sign in _BEHIND):
            return False
        raise ResumeLater(f"the anchor {self} cannot be written: {pushed.stderr.strip()}; run the same command again")

    def _fetched(self, root: Path) -> str | None:
        """The branch's newest commit, in a new repository in `root`; None where there is no such branch."""
        if shutil.which("git") is None:
            raise BadInput(
                f"the anchor {self} needs git, which is not installed here (the image of stages has none): set "
                "gate.anchor to s3://bucket/prefix/"
            )
        head = git.heads(self.branch)
        git.output(root, "init", "-q")
        listed = git.call(root, "ls-remote", "--quiet", git.END, self.repository, head, seconds=git.TRANSFER)
        if listed.returncode != 0:
            raise ResumeLater(
                f"the anchor {self} cannot be read: {listed.stderr.strip()}; run the same command again, or set "
                "gate.anchor"
            )
        if not listed.stdout.strip():
            return None
        fetched = git.call(
            root, "fetch", "-q", "--depth=1", "--no-tags", git.END, self.repository, f"+{head}:{_HERE}",
            seconds=git.TRANSFER,
        )  # fmt: skip
        if fetched.returncode != 0:
            raise ResumeLater(f"the anchor {self} cannot be read: {fetched.stderr.strip()}; run the same command again")
        return git.output(root, "rev-parse", _HERE)
