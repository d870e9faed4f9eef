"""Votes as a CSV table: for other tools, and from raters who voted elsewhere."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from components.errors import BadInput
from components.storage import digests
from components.study import raters
from components.study.manifest import Manifest
from components.study.order import tasks_of
from components.study.raters import Rater
from components.study.votes import Entries, Vote, VoteLog

COLUMNS = ("rater", "task", "comparison", "kind", "left", "choice", "time", "seconds")
ABOUT = ("lr_id", "photo", "first_model", "first_index", "second_model", "second_index", "first_preferred")
"""For people who read the table; import ignores them."""
LARGEST = 50_000_000
"""Bytes; a vote has about 200."""


def as_csv(manifest: Manifest, votes: Sequence[Vote]) -> str:
    """A row for each standing vote."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*COLUMNS, *ABOUT])
    by_id = manifest.by_id
    for vote in votes:
        one = by_id[vote.comparison]
        own = [vote.rater, vote.task, vote.comparison, vote.kind, vote.left, vote.choice, vote.time, vote.seconds]
        about = [one.lr_id, one.photo, one.first.model, one.first.index, one.second.model, one.second.index, vote.first]
        writer.writerow([*own, *about])
    return buffer.getvalue()


def import_csv(folder: Path, manifest: Manifest, path: Path) -> tuple[int, int]:
    """Add the votes of a table; all of them or none. How many are new, and how many were known already.

    Raises:
        BadInput: a row does not fit the study, or contradicts a vote that is there; names file and row.
    """
    with VoteLog(folder) as log:
        standing = {(vote.rater, vote.task): vote for vote in Entries(log.entries).standing}
        invited = {rater.name: rater for rater in raters.read(folder)}
        new: dict[tuple[str, int], Vote] = {}
        answered = {_what(vote): vote.task for vote in standing.values()}
        known = 0
        for place, row in _rows(path):
            vote = _vote(manifest, row, place)
            _fits_order(manifest, invited.get(vote.rater), vote, place)
            before = standing.get((vote.rater, vote.task)) or new.get((vote.rater, vote.task))
            if before is None:
                _only_once(answered, vote, place)
                new[vote.rater, vote.task] = vote
            elif (before.comparison, before.left, before.choice) == (vote.comparison, vote.left, vote.choice):
                known += 1
            else:
                raise BadInput(f"{place}: task {vote.task} of {vote.rater} has another answer already: remove the row")
        raters.add_without_link(folder, list(dict.fromkeys(vote.rater for vote in new.values())))
        if new:
            log.append(new.values())
    return len(new), known


def _rows(path: Path) -> list[tuple[str, Mapping[str, str]]]:
    """Rows with their places, for messages."""
    try:
        if path.stat().st_size > LARGEST:
            raise BadInput(f"{path} is larger than {LARGEST} bytes: give the table of votes, in parts")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} cannot be read ({error}): give a CSV table in UTF-8") from error
    reader = csv.DictReader(io.StringIO(text), strict=True)
    lacking = [name for name in COLUMNS if name not in (reader.fieldnames or []) and name not in ("time", "seconds")]
    if lacking:
        raise BadInput(f"{path} lacks the columns {', '.join(lacking)}: `dp2o study export` shows how a table looks")
    try:
        return [(f"{path}, row {number}", row) for number, row in enumerate(reader, start=2)]
    except csv.Error as error:
        raise BadInput(f"{path}, row {reader.line_num} is no CSV ({error})") from error


def _vote(manifest: Manifest, row: Mapping[str, str], place: str) -> Vote:
    values = {name: row.get(name) or "" for name in COLUMNS}
    try:
        vote = Vote.model_validate({
            **values,
            "task": int(values["task"]),
            "seconds": float(values["seconds"]) if values["seconds"] else None,
            "id": f"import-{digests.of_json(values)[:32]}",
        })  # fmt: skip
    except (ValidationError, ValueError) as error:
        what = f"task or seconds: {error}"
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            what = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise BadInput(f"{place}: {what}") from error
    if problem := raters.name_problem(vote.rater):
        raise BadInput(f"{place}: {problem}")
    comparison = manifest.by_id.get(vote.comparison)
    if comparison is None:
        raise BadInput(f"{place}: study {manifest.name} has no comparison {vote.comparison}: is it of another study?")
    if comparison.check != (vote.kind == "check"):
        raise BadInput(f"{place}: comparison {vote.comparison} is {'' if comparison.check else 'no '}attention check")
    if vote.choice == "tie" and not manifest.ties:
        raise BadInput(f"{place}: study {manifest.name} has no ties")
    return vote


def _fits_order(manifest: Manifest, rater: Rater | None, vote: Vote, place: str) -> None:
    """Who has a link has an order of tasks, and goes on in it."""
    if rater is None or not rater.token:
        return
    tasks = tasks_of(manifest, rater.name, rater.number)
    task = tasks[vote.task] if 0 <= vote.task < len(tasks) else None
    if task is None or (task.comparison, task.left, task.kind) != (vote.comparison, vote.left, vote.kind):
        raise BadInput(f"{place}: task {vote.task} of {rater.name} is another one: give the rater another name")


def _what(vote: Vote) -> tuple[str, str, str]:
    """What a rater answers once: a pair, and once more as a repeat."""
    return vote.rater, vote.comparison, vote.kind


def _only_once(answered: dict[tuple[str, str, str], int], vote: Vote, place: str) -> None:
    task = answered.setdefault(_what(vote), vote.task)
    if task != vote.task:
        raise BadInput(f"{place}: {vote.rater} has answered comparison {vote.comparison} already, as task {task}")
