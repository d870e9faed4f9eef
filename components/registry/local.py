"""The project's own MLflow database, an SQLite file: what is wrong with it, and where its artifacts are.

MLflow writes the whole path of every artifact into the database. A project that was moved or copied would look for
them, and write new ones, where it was before; so the paths are set anew when the database is opened elsewhere.
"""

import contextlib
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from components.errors import BadInput, ResumeLater, UserError
from components.storage.disk import full_disk

SQLITE = "sqlite:///"
ARTIFACTS = "mlartifacts"
"""Folder beside the database."""
_OWN_TABLE = "alembic_version"
_PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
)
"""Columns with paths of artifacts."""
_WAIT = 30.0
"""Seconds that another process may hold the database."""


def database_file(uri: str) -> Path | None:
    """The file of an SQLite URI, None for any other."""
    return Path(uri.removeprefix(SQLITE)).resolve() if uri.startswith(SQLITE) else None


def artifacts_of(database: Path) -> str:
    """URI of the folder where a database's artifacts are."""
    return (database.parent / ARTIFACTS).as_uri()


def prepare(database: Path) -> None:
    """See that MLflow can use `database`, which is made where there is none, and has its artifacts beside it.

    Raises:
        BadInput: it is damaged, another program's, or cannot be opened.
        ResumeLater: another process holds it.
    """
    if not database.exists():
        _make(database)
        return
    with database_errors(database), contextlib.closing(sqlite3.connect(database, timeout=_WAIT)) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if tables and _OWN_TABLE not in tables:
            raise BadInput(
                f"{database} is a database of another program (its tables are {', '.join(sorted(tables)[:3])} …): name "
                "another file in register.tracking_uri"
            )
        _reroot(connection, tables, database)


def _make(database: Path) -> None:
    """Put a new database in place, whole: MLflow makes its tables one by one, and cannot go on where it was stopped.

    Where another process was quicker, its database stays.
    """
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore  # noqa: PLC0415  # seconds of imports

    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{database.name}.", dir=database.parent) as folder:
            made = Path(folder) / database.name
            SqlAlchemyStore(SQLITE + str(made), artifacts_of(database)).engine.dispose()
            made.chmod(0o644)
            with contextlib.suppress(FileExistsError):
                os.link(made, database)
    except (OSError, sqlite3.Error, MlflowException, SQLAlchemyError) as error:
        cause = sqlite_error(error)
        if cause is not None:
            raise user_error(database, cause) from error
        if isinstance(error, OSError) and full_disk(error, database) is None:
            raise BadInput(f"{database} cannot be made: {error.strerror}; look at the folder's rights") from error
        raise


def _reroot(connection: sqlite3.Connection, tables: set[str], database: Path) -> None:
    """Let the paths of artifacts that came here with the database say so; others stay as they are."""
    here = artifacts_of(database)
    if "experiments" not in tables or not (database.parent / ARTIFACTS).is_dir():
        return
    listed = connection.execute("SELECT DISTINCT artifact_location FROM experiments").fetchall()
    moved = [place for (place,) in listed if place and place != here and place.endswith(f"/{ARTIFACTS}")]
    if not moved:
        return
    with connection:  # one transaction: a crash leaves all paths as they were
        connection.execute("BEGIN IMMEDIATE")
        for before in moved:
            for table, column in _PLACES:
                if table in tables:
                    connection.execute(
                        f"UPDATE {table} SET {column} = ? || substr({column}, ?) "  # names of our own
                        f"WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                        (here, len(before) + 1, before, len(before) + 1, f"{before}/"),
                    )


_NOT_OURS_TO_USE = ("unable to open", "readonly", "disk I/O")
"""Of a sound database. Other errors of operation are of one whose tables are not as MLflow left them."""


@contextlib.contextmanager
def database_errors(database: Path) -> Iterator[None]:
    """SQLite's errors within become errors that the user can act on."""
    try:
        yield
    except sqlite3.Error as error:
        raise user_error(database, error) from error


def user_error(database: Path, error: sqlite3.Error) -> UserError:
    """What an error of SQLite's means to the user."""
    if (full := full_disk(error, database)) is not None:
        return full
    text = str(error)
    if "locked" in text:
        return ResumeLater(f"{database} is held by another process: run the same command again")
    if isinstance(error, sqlite3.OperationalError) and any(words in text for words in _NOT_OURS_TO_USE):
        return BadInput(f"{database} cannot be used ({text}): look at its rights")
    return BadInput(
        f"{database} is damaged ({text}): restore it from a backup, or move it away and run `dp2o register`, which "
        "begins a new registry without the history"
    )


def sqlite_error(error: BaseException | None) -> sqlite3.Error | None:
    """SQLite's own error among the causes of `error`."""
    while error is not None:
        if isinstance(error, sqlite3.Error):
            return error
        error = error.__cause__ or error.__context__
    return None
