"""Who may vote: names with the digests of their tokens. A token itself is told once, when it is made."""

import secrets
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from components.artifacts.documents import Section
from components.errors import BadInput
from components.storage import digests
from components.storage.publish import write_json

RATERS = "raters.json"
TOKEN_BYTES = 24
LONGEST_NAME = 64


class Rater(Section):
    """A person.

    Attributes:
        name: as votes and results call them.
        number: place in the order of invitation, from 0.
        token: sha256 of the link's token; empty for one whose votes were imported, who has no link.
    """

    name: str
    number: int
    token: str


class _Raters(Section):
    raters: tuple[Rater, ...]


def read(folder: Path) -> tuple[Rater, ...]:
    """All raters of a study, in the order of invitation.

    Raises:
        BadInput: the file is damaged.
    """
    path = folder / RATERS
    if not path.is_file():
        return ()
    try:
        return _Raters.model_validate_json(path.read_bytes()).raters
    except (OSError, ValidationError) as error:
        raise BadInput(f"{path} cannot be read ({error}): restore it, or remove it and invite again") from error


def _write(folder: Path, raters: Sequence[Rater]) -> None:
    write_json(folder / RATERS, _Raters(raters=tuple(raters)).model_dump(mode="json"))


def of_token(raters: Sequence[Rater], token: str) -> Rater | None:
    """Whose token it is; None if it is nobody's."""
    found = digests.of_bytes(token.encode())
    return next((rater for rater in raters if rater.token and secrets.compare_digest(rater.token, found)), None)


def invite(folder: Path, names: Sequence[str] = (), count: int = 0, renew: bool = False) -> list[tuple[Rater, str]]:
    """Add raters, and give each its token.

    Args:
        names: of those who have one.
        count: more, who are called rater-1, rater-2 and so on.
        renew: the names are of known raters, whose old links end.

    Raises:
        BadInput: a name is taken, is none, or, to renew, is not known.
    """
    raters = list(read(folder))
    known = {rater.name: place for place, rater in enumerate(raters)}
    made = []
    for name in [*names, *_fresh(known, count)]:
        _check_name(name)
        token = secrets.token_urlsafe(TOKEN_BYTES)
        if renew:
            if name not in known or not raters[known[name]].token:
                raise BadInput(f"rater {name} has no link that could be renewed; `--rater` without `--renew` invites")
            rater = raters[known[name]].model_copy(update={"token": digests.of_bytes(token.encode())})
            raters[known[name]] = rater
        else:
            if name in known:
                raise BadInput(f"rater {name} is invited already: give another name, or --renew for a new link")
            rater = Rater(name=name, number=len(raters), token=digests.of_bytes(token.encode()))
            known[name] = len(raters)
            raters.append(rater)
        made.append((rater, token))
    _write(folder, raters)
    return made


def add_without_link(folder: Path, names: Sequence[str]) -> None:
    """Raters whose votes come from elsewhere; those who are known stay as they are."""
    raters = list(read(folder))
    known = {rater.name for rater in raters}
    for name in names:
        if name not in known:
            _check_name(name)
            raters.append(Rater(name=name, number=len(raters), token=""))
            known.add(name)
    _write(folder, raters)


def _fresh(known: dict[str, int], count: int) -> list[str]:
    found: list[str] = []
    number = 1
    while len(found) < count:
        if (name := f"rater-{number}") not in known:
            found.append(name)
        number += 1
    return found


def name_problem(name: str) -> str:
    """Why nobody can be called so; empty where somebody can."""
    if name.strip() and name == name.strip() and name.isprintable() and len(name) <= LONGEST_NAME and "," not in name:
        return ""
    return f"rater {name!r}: give a name of printable characters without commas, {LONGEST_NAME} at most"


def _check_name(name: str) -> None:
    if problem := name_problem(name):
        raise BadInput(problem)
