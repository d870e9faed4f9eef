"""Where MLflow is, and what its failures mean to the user."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
from mlflow.exceptions import MlflowException

from components.errors import BadInput, ResumeLater
from components.settings import RegisterSettings

_SQLITE = "sqlite:///"
_WHO = (401, 403)
_TRY_AGAIN = (408, 429)  # request timeout, too many requests: the only client errors that pass by themselves


def tracking_uri(settings: RegisterSettings, root: Path) -> str:
    """MLFLOW_TRACKING_URI where it is set, else the settings' URI with an SQLite file relative to `root`."""
    configured = os.environ.get("MLFLOW_TRACKING_URI")
    if configured:
        return configured
    uri = settings.tracking_uri
    if uri.startswith(_SQLITE):
        return _SQLITE + str(root.resolve() / uri.removeprefix(_SQLITE))  # joining keeps an absolute path as it is
    return uri


def is_server(uri: str) -> bool:
    """True for an MLflow server, false for a database opened directly."""
    return uri.startswith(("http://", "https://"))


@contextmanager
def connected(settings: RegisterSettings, root: Path) -> Iterator[mlflow.MlflowClient]:
    """A client of the tracking server and registry; MLflow's failures within become errors a user can act on.

    Raises:
        ResumeLater: the server cannot be reached, or fails on its side.
        BadInput: the server refuses: no permission, or something asked for is not there.
    """
    uri = tracking_uri(settings, root)
    mlflow.set_tracking_uri(uri)
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # stdout is for --json
    try:
        yield mlflow.MlflowClient()
    except MlflowException as error:
        status = _status(error)
        if not is_server(uri) and status >= 500:
            raise  # a local database does not fail by itself: a defect, shown with its traceback
        if 400 <= status < 500 and status not in _TRY_AGAIN:
            raise BadInput(f"MLflow at {uri} refused: {error.message}{_way_out(status)}") from error
        raise ResumeLater(
            f"MLflow at {uri} cannot be used now: {error.message}\n"
            "Nothing is lost: run the same command again when the server answers, "
            "or unset MLFLOW_TRACKING_URI to use the local database"
        ) from error


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
            "<name>-dev, <name> and <name>-history; ask whoever has MANAGE"
        )
    return ""


def experiment_id(client: mlflow.MlflowClient, settings: RegisterSettings, root: Path) -> str:
    """The settings' experiment, made if it is not there; artifacts of a local database go to mlartifacts beside it."""
    found = client.get_experiment_by_name(settings.experiment)
    if found is not None:
        return str(found.experiment_id)
    uri = tracking_uri(settings, root)
    # Beside the database: a task runs in a workspace of its own, with the project's database named by its whole path.
    location = (Path(uri.removeprefix(_SQLITE)).parent / "mlartifacts").as_uri() if uri.startswith(_SQLITE) else None
    return str(client.create_experiment(settings.experiment, artifact_location=location))
