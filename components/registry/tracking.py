"""Where MLflow is, and what its failures mean to the user."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import DBAPIError, OperationalError

from components.errors import BadInput, ResumeLater
from components.redaction import redacted
from components.registry import local
from components.settings import RegisterSettings

_CONFIGURED = "MLFLOW_TRACKING_URI"
_WHO = (401, 403)
_OTHER_PLACE = "Name another place in MLFLOW_TRACKING_URI or register.tracking_uri"
_OUT_OF_DATE = (
    "It is of another version of MLflow: take a backup, then `mlflow db upgrade {uri}`, or install the version that "
    "wrote it"
)
_TRY_AGAIN = (408, 429)  # request timeout, too many requests: the only client errors that pass by themselves


def tracking_uri(settings: RegisterSettings, root: Path) -> str:
    """MLFLOW_TRACKING_URI where it is set, else the settings' URI with an SQLite file relative to `root`."""
    configured = os.environ.get(_CONFIGURED)
    if configured:
        return configured
    uri = settings.tracking_uri
    if uri.startswith(local.SQLITE):  # joining keeps an absolute path as it is
        return local.SQLITE + str(root.resolve() / uri.removeprefix(local.SQLITE))
    return uri


def is_server(uri: str) -> bool:
    """True for an MLflow server, false for a database opened directly."""
    return uri.startswith(("http://", "https://"))


@contextmanager
def connected(settings: RegisterSettings, root: Path) -> Iterator[mlflow.MlflowClient]:
    """A client of the tracking server and registry; MLflow's failures within become errors a user can act on.

    Raises:
        ResumeLater: the server cannot be reached, or fails on its side; or another process holds the local database.
        BadInput: the server refuses: no permission, or something asked for is not there; or the URI or the local
            database cannot be used.
    """
    uri = tracking_uri(settings, root)
    database = local.database_file(uri)
    if database is not None:
        local.prepare(database)
    _use(uri)
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # stdout is for --json
    try:
        yield _opened(uri)
    except (MlflowException, DBAPIError) as error:
        raise _user_error(uri, database, error) from error


def _use(uri: str) -> None:
    """Let MLflow work at `uri`, in this process: it would put the URI into the environment as if the user had, and
    another project, opened later, would be looked for there."""
    configured = os.environ.get(_CONFIGURED)
    mlflow.set_tracking_uri(uri)
    if configured is None:
        os.environ.pop(_CONFIGURED, None)
    else:
        os.environ[_CONFIGURED] = configured


def _opened(uri: str) -> mlflow.MlflowClient:
    """A client of what is there."""
    if is_server(uri):
        return mlflow.MlflowClient()
    try:
        client = mlflow.MlflowClient()
        client.search_experiments(max_results=1)  # a database is opened at its first use
    except ModuleNotFoundError as error:
        raise BadInput(
            f"MLflow at {shown(uri)} needs the package {error.name}, which is not installed here: install it, or "
            "name another place in MLFLOW_TRACKING_URI or register.tracking_uri"
        ) from error
    except MlflowException as error:
        way_out = _OUT_OF_DATE.format(uri=shown(uri)) if "out-of-date" in str(error) else _OTHER_PLACE
        raise BadInput(f"MLflow at {shown(uri)} cannot be opened: {error.message}\n{way_out}") from error
    return client


def shown(uri: str) -> str:
    """`uri` without its password."""
    return redacted(uri)


def _user_error(uri: str, database: Path | None, error: MlflowException | DBAPIError) -> Exception:
    """What to raise for `error`: what the user can act on, or `error` itself where it is a defect."""
    if database is not None and (cause := local.sqlite_error(error)) is not None:
        return local.user_error(database, cause)
    if isinstance(error, DBAPIError):
        status, message = (503, str(error.orig)) if isinstance(error, OperationalError) else (500, str(error.orig))
    else:
        status, message = _status(error), error.message
    if not is_server(uri) and status == 500:
        return error  # a database does not fail by itself: a defect, shown with its traceback
    if 400 <= status < 500 and status not in _TRY_AGAIN:
        return BadInput(f"MLflow at {shown(uri)} refused: {message}{_way_out(status)}")
    return ResumeLater(
        f"MLflow at {shown(uri)} cannot be used now: {message}\n"
        "Nothing is lost: run the same command again when the server answers, "
        "or unset MLFLOW_TRACKING_URI to use the local database"
    )


def _status(error: MlflowException) -> int:
    """HTTP status; that of a refused user, too, which MLflow's copying of versions wraps into an error of the server's.

    Other statuses of inner errors mean little: what MLflow looks for and does not find is an inner 404.
    """
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, MlflowException) and inner.get_http_status_code() in _WHO:
            return int(inner.get_http_status_code())
        inner = inner.__cause__ or inner.__context__
    return int(error.get_http_status_code())


def _way_out(status: int) -> str:
    """For refusals that are about who asks."""
    user = os.environ.get("MLFLOW_TRACKING_USERNAME")
    if status == 401:
        who = f"does not know {user} with this password" if user else "wants to know who asks"
        return f"\n401: the server {who}: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    if status == 403:
        return (
            f"\n403: {user or 'nobody'} may not do this: EDIT on the registered model is needed, for a promotion on "
            "<name>-dev, <name> and <name>-history, and on the experiment <experiment>-promoted; ask whoever has MANAGE"
        )
    return ""


def experiment_id(client: mlflow.MlflowClient, settings: RegisterSettings, root: Path) -> str:
    """The settings' experiment, made if it is not there; artifacts of a local database go to mlartifacts beside it."""
    found = client.get_experiment_by_name(settings.experiment)
    if found is not None:
        return str(found.experiment_id)
    # Beside the database: a task runs in a workspace of its own, with the project's database named by its whole path.
    database = local.database_file(tracking_uri(settings, root))
    location = None if database is None else local.artifacts_of(database)
    return str(client.create_experiment(settings.experiment, artifact_location=location))
