"""Git, the one way it is called here: nothing that others named is an option, nothing waits for ever, nobody is asked.

A name that comes from a form, a file or another repository goes behind `--end-of-options` or into a full refspec, after
`checked_branch` has seen it.
"""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from components.errors import BadInput

QUICK, TRANSFER = 60.0, 900.0
"""Seconds that a command may take: one of this machine, and one that talks to another."""
END = "--end-of-options"
SILENT = {
    "GIT_TERMINAL_PROMPT": "0",  # a password that is missing is an error, not a question to nobody
    "SSH_ASKPASS_REQUIRE": "never",
    "GIT_OPTIONAL_LOCKS": "0",
    "LC_ALL": "C",  # what it says is compared
}
_OF_A_REPOSITORY = frozenset(
    f"GIT_{name}"
    for name in (
        *("DIR", "WORK_TREE", "IMPLICIT_WORK_TREE", "COMMON_DIR", "INDEX_FILE", "PREFIX", "NAMESPACE"),
        *("OBJECT_DIRECTORY", "ALTERNATE_OBJECT_DIRECTORIES", "QUARANTINE_PATH", "SHALLOW_FILE", "GRAFT_FILE"),
        *("NO_REPLACE_OBJECTS", "REPLACE_REF_BASE"),
    )
)
"""Variables that name a repository, as git sets them for its hooks: `root` alone says which one is meant."""
_NO_GIT, _TOO_LONG = 127, 124
"""Exit codes of what did not run, and of what was ended; a shell's and timeout's."""
Done = subprocess.CompletedProcess[str]


def call(root: Path, *arguments: str, settings: Sequence[str] = (), seconds: float = QUICK) -> Done:
    """Run `git <arguments>` in `root`; how it ended, whatever that is. stderr says why where it could not run.

    Args:
        settings: `name=value` for this call alone.
        seconds: after which it is ended.
    """
    # No command of ours wants hooks that a work tree could name, or helpers that a URL could.
    own = ("core.hooksPath=/dev/null", "core.fsmonitor=false", "protocol.ext.allow=never", *settings)
    command = ["git", *(word for setting in own for word in ("-c", setting)), *arguments]
    try:
        return subprocess.run(
            command,
            cwd=root,
            env={name: value for name, value in os.environ.items() if name not in _OF_A_REPOSITORY} | SILENT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
            start_new_session=True,  # without a terminal ssh cannot ask either
        )
    except FileNotFoundError as error:
        return Done(command, _NO_GIT, "", f"git is not installed, or there is no folder here: {error}")
    except subprocess.TimeoutExpired:
        return Done(command, _TOO_LONG, "", f"no end after {seconds:g} s")


def output(root: Path, *arguments: str, settings: Sequence[str] = (), seconds: float = QUICK) -> str:
    """What a command prints, without the space around it.

    Raises:
        BadInput: it failed.
    """
    done = call(root, *arguments, settings=settings, seconds=seconds)
    if done.returncode != 0:
        raise BadInput(f"git {' '.join(arguments)} in {root}: {done.stderr.strip()}")
    return done.stdout.strip()


def checked_branch(name: str) -> str:
    """`name`, if a branch may have it.

    Raises:
        BadInput: it may not; an option of git's is no branch either.
    """
    # `check-ref-format` runs anywhere; its own `--branch` would take `@{-1}` for the branch before this one.
    checked = call(Path("/"), "check-ref-format", f"refs/heads/{name}")
    if checked.returncode in (_NO_GIT, _TOO_LONG):
        raise BadInput(f"git cannot be run here: {checked.stderr}")
    if name.startswith("-") or checked.returncode != 0:
        raise BadInput(f"{name!r} is no name of a branch (`git help check-ref-format` has the rules): name another")
    return name


def heads(branch: str) -> str:
    """Full name of a branch, which nothing else can be taken for.

    Raises:
        BadInput: it is no name of a branch.
    """
    return f"refs/heads/{checked_branch(branch)}"


def clone(source: str, branch: str, root: Path) -> None:
    """Make `root` a work tree of that branch alone, with `source` as its origin.

    A tag of the same name is not taken for it. Nothing of the branch may lead out of the work tree.

    Raises:
        BadInput: there is no such repository or branch, or a link of it leads elsewhere.
    """
    ref, here = heads(branch), f"refs/remotes/origin/{branch}"
    output(root.parent, "init", "-q", f"--initial-branch={branch}", END, str(root))
    output(root, "config", "remote.origin.url", source)
    output(root, "config", "remote.origin.fetch", f"+{ref}:{here}")
    fetched = call(root, "fetch", "-q", "--no-tags", END, "origin", f"+{ref}:{here}", seconds=TRANSFER)
    if fetched.returncode != 0:
        raise BadInput(f"branch {branch} of {source} cannot be cloned: {fetched.stderr.strip()}")
    output(root, "reset", "-q", "--hard", here, seconds=TRANSFER)
    check_links(root)


def check_links(root: Path) -> None:
    """See that no symbolic link of a work tree leads out of it: what is written below one would land elsewhere.

    Raises:
        BadInput: one does; it is named with where it leads.
    """
    inside = root.resolve()
    for entry in output(root, "ls-files", "-s", "-z").split("\0"):
        mode, _, path = entry.partition("\t")
        if mode.startswith("120000"):
            target = (root / path).resolve()
            if not target.is_relative_to(inside) or ".git" in target.relative_to(inside).parts:
                raise BadInput(
                    f"{path} on this branch is a link to {os.readlink(root / path)}, out of the checkout: "
                    "replace it by what it leads to, or track that with DVC"
                )
