"""Git: what branches, tags and the work tree name stays. Nothing of git itself is ever removed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from components.artifacts import paths
from components.artifacts.lock import LOCK
from components.cleaning.inventory import Entry, Root
from components.cleaning.world import World, lock_digest, run_name, version_name
from components.errors import BadInput, ResumeLater
from components.storage import git

SUFFIX = ".dvc"
FETCHED = "refs/dp2o/gc"
"""Where branches and tags of other repositories are while this looks at them: the user's own refs stay as they are."""


@dataclass
class Revisions:
    """Branches, tags, stashes and work trees of the project and of those that share its store."""

    world: World
    name: str = "git"
    shared: bool = False
    _texts: dict[str, str] = field(default_factory=dict)

    def roots(self, named: frozenset[str]) -> Iterator[Root]:
        """Each with what its dvc.lock, its `.dvc` files and its registration name.

        Raises:
            BadInput: a file is damaged.
        """
        for root in (self.world.root, *self.world.others):
            yield from self._work_tree(root)
            for commit, what in _commits(root, self.world.every_commit).items():
                yield Root(what, self._named(root, commit, what))

    def entries(self) -> Iterable[Entry]:
        """None."""
        return ()

    def sized(self, entry: Entry) -> Entry:
        """There is none."""
        return entry

    def remove(self, entries: Sequence[Entry]) -> Iterator[Entry]:
        """There is none."""
        return iter(())

    @cached_property
    def locks(self) -> dict[str, str]:
        """Texts of all dvc.lock that git has ever had, and of the work tree's, by their digest."""
        found: dict[str, str] = {}
        for root in (self.world.root, *self.world.others):
            if (root / LOCK).is_file():
                text = (root / LOCK).read_text()
                found[lock_digest(text)] = text
            for commit in _lines(root, "log", "--all", "--format=%H", "--", LOCK):
                shown = git.call(root, "show", git.END, f"{commit}:./{LOCK}")
                if shown.returncode == 0:
                    found.setdefault(lock_digest(shown.stdout), shown.stdout)
        found.pop("", None)
        return found

    def _work_tree(self, root: Path) -> Iterator[Root]:
        tracked = _lines(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard", zeros=True)
        named: set[str] = set()
        for path in [LOCK, paths.REGISTRATION.as_posix(), *(one for one in tracked if one.endswith(SUFFIX))]:
            if (root / path).is_file():
                named |= self._named_by(path, (root / path).read_text(), f"{path} in {root}")
        yield Root(f"the work tree {root}", frozenset(named))

    def _named(self, root: Path, commit: str, what: str) -> frozenset[str]:
        named: set[str] = set()
        for line in _lines(root, "ls-tree", "-r", "-z", git.END, commit, zeros=True):
            about, _, path = line.partition("\t")
            blob = about.split()[-1]
            if path in (LOCK, paths.REGISTRATION.as_posix()) or path.endswith(SUFFIX):
                if blob not in self._texts:
                    self._texts[blob] = git.output(root, "cat-file", "blob", blob)
                named |= self._named_by(path, self._texts[blob], f"{path} of {what}")
        return frozenset(named)

    def _named_by(self, path: str, text: str, what: str) -> frozenset[str]:
        if not path.endswith(".json"):
            return self.world.named_by_lock(text, what)
        try:
            registered = json.loads(text)
            return frozenset({version_name(registered["model"], registered["version"]), run_name(registered["run_id"])})
        except (ValueError, KeyError, TypeError):
            return frozenset()  # of another version of the contract


def fetch(root: Path) -> None:
    """Look at the branches and tags of all repositories that this one knows, so that nobody's push is overlooked.

    Raises:
        ResumeLater: one cannot be reached: nobody knows what its branches refer to.
    """
    for remote in _lines(root, "remote"):
        wanted = (f"+refs/{kind}/*:{FETCHED}/{remote}/{kind}/*" for kind in ("heads", "tags"))
        fetched = git.call(root, "fetch", "-q", "--no-tags", "--prune", git.END, remote, *wanted, seconds=git.TRANSFER)
        if fetched.returncode != 0:
            raise ResumeLater(
                f"git remote {remote} of {root} cannot be reached ({fetched.stderr.strip()}), so that nobody knows "
                "what its branches refer to: run the same command when it answers, or with --only for what is on this "
                "machine alone"
            )


def _commits(root: Path, every: bool) -> dict[str, str]:
    """Commits to look at, each with a name for people."""
    found: dict[str, str] = {}
    for line in _lines(root, "for-each-ref", "--format=%(objectname) %(*objectname) %(refname)"):
        *hashes, ref = line.split()
        found.setdefault(hashes[-1], ref.removeprefix("refs/"))
    for line in _lines(root, "worktree", "list", "--porcelain"):
        if line.startswith("HEAD "):
            found.setdefault(line.split()[1], "a work tree")
    if every:
        for commit in _lines(root, "rev-list", "--all"):
            found.setdefault(commit, f"commit {commit[:12]}")
    kinds = {commit: git.call(root, "cat-file", "-t", commit).stdout.strip() for commit in found}
    return {commit: what for commit, what in found.items() if kinds[commit] == "commit"}


def _lines(root: Path, *arguments: str, zeros: bool = False) -> list[str]:
    """What git prints; nothing outside of a repository.

    Raises:
        BadInput: it is a repository, and git fails.
    """
    done = git.call(root, *arguments)
    if done.returncode != 0:
        if "not a git repository" in done.stderr:
            return []
        raise BadInput(f"git {arguments[0]} in {root}: {done.stderr.strip()}; nothing is removed")
    return [line for line in done.stdout.split("\0" if zeros else "\n") if line]
