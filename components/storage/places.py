"""Paths that somebody else wrote down: the one look at them before anything is read or written there."""

import re
from pathlib import Path, PurePosixPath

from components.errors import BadInput

_MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def problem(path: str) -> str:
    """What keeps `path` from being a place within a folder, for people; empty where nothing does."""
    parts = path.split("/")
    if not path or "" in parts or "." in parts:
        return "is no plain relative path"
    if PurePosixPath(path).is_absolute() or ".." in parts:
        return "leads out of the folder"
    if "\0" in path or "\\" in path:
        return "has a character that no path of ours has"
    if parts[0] == ".git":
        return "is git's own"
    return ""


def relative(path: str) -> str:
    """`path`, if it is one within a folder. For pydantic.

    Raises:
        ValueError: it is not.
    """
    if wrong := problem(path):
        raise ValueError(f"path {path!r} {wrong}")
    return path


def below(root: Path, path: str, told_by: str) -> Path:
    """Where `path` is in the folder `root`, with no link on the way that leads out of it.

    Args:
        told_by: who says so, for the message: a task, a listing, a result.

    Raises:
        BadInput: it is not below `root`.
    """
    wrong = problem(path)
    if not wrong and not (root / path).parent.resolve().is_relative_to(root.resolve()):
        wrong = "goes through a link that leads out of the folder"
    if wrong:
        raise BadInput(
            f"{told_by} names the path {path!r}, which {wrong}; nothing was written. Somebody else than this project "
            "wrote that: find out who may write to the store"
        )
    return root / path


def md5_name(name: str) -> str:
    """`name`, if it is an md5 as DVC writes it. For pydantic.

    Raises:
        ValueError: it is not.
    """
    if not _MD5.fullmatch(name):
        raise ValueError(f"{name!r} is no md5 of an object")
    return name


def sha256_name(name: str) -> str:
    """`name`, if it is a sha256, or empty for one that is not known. For pydantic.

    Raises:
        ValueError: it is neither.
    """
    if name and not _SHA256.fullmatch(name):
        raise ValueError(f"{name!r} is no sha256")
    return name
