"""Real servers for tests: PostgreSQL, MLflow with its users, Prefect with a worker, S3.

Each is a context manager that picks a free port, waits until the server answers, and ends what it started, by process
id. None needs a service manager. What is missing on the machine fails the tests where CI=true, and is a loud skip
elsewhere.
"""

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

LOOPBACK = "127.0.0.1"
STARTS_WITHIN = 180.0
"""Seconds for a server to answer: they take 10 to 25 alone, and tests share their machine."""
PREFECT_WORK_POOL = "tests"

_QUIET = {
    "DO_NOT_TRACK": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "OMP_NUM_THREADS": "1",
    "PYTHONUNBUFFERED": "1",
}


def missing(what: str) -> None:
    """Fail under CI=true, where nothing may be missing; skip elsewhere, and say what for."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what}; every server is needed where CI=true")
    pytest.skip(f"{what}: tests with this server are NOT run")


def free_port(host: str = LOOPBACK) -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def answers(url: str) -> bool:
    """Whether an HTTP server is there, whatever it says, unless that is that it is not ready."""
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except urllib.error.HTTPError as error:
        return error.code < 500
    except OSError:
        return False


@contextmanager
def process(
    command: Sequence[str], log: Path, ready: Callable[[], bool], environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A server in a session of its own; its whole session is ended afterwards, by SIGKILL if it does not go."""
    variables = os.environ | _QUIET | dict(environment or {})
    with log.open("ab") as output:
        started = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=variables, start_new_session=True
        )
    try:
        _wait(started, log, ready)
        yield started
    finally:
        for number, patience in ((signal.SIGTERM, 10.0), (signal.SIGKILL, 10.0)):
            try:
                os.killpg(started.pid, number)
                started.wait(patience)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue


def _wait(started: subprocess.Popen[bytes], log: Path, ready: Callable[[], bool]) -> None:
    until = time.monotonic() + STARTS_WITHIN
    while not ready():
        if started.poll() is not None or time.monotonic() > until:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-40:])
            how = f"ended with {started.returncode}" if started.returncode is not None else "does not answer"
            raise RuntimeError(f"{' '.join(started.args)} {how}:\n{tail}")  # type: ignore[arg-type]
        time.sleep(0.2)


@dataclass(frozen=True)
class Postgres:
    """A running server; every database in it is the caller's."""

    port: int
    password: str

    def create(self, database: str) -> None:
        """A new, empty database."""
        import psycopg  # noqa: PLC0415

        url = self.url("postgres", driver="")
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{database}"')

    def url(self, database: str, driver: str = "+psycopg") -> str:
        """For SQLAlchemy; `+asyncpg` is what Prefect wants."""
        return f"postgresql{driver}://postgres:{self.password}@{LOOPBACK}:{self.port}/{database}"


@contextmanager
def postgres() -> Iterator[Postgres]:
    """PostgreSQL on loopback, in a folder of its own that goes with it; as the user `postgres` where we are root."""
    for tool in ("initdb", "pg_ctl"):
        if shutil.which(tool) is None:
            missing(f"PostgreSQL's {tool} is not on PATH (Debian: postgresql)")
    as_user: list[str] = []
    folder = Path(tempfile.mkdtemp(prefix="dp2o-postgres-"))  # pytest's folders are closed to other users
    server = Postgres(free_port(), secrets.token_hex(16))
    secret = folder / "password"
    secret.write_text(server.password)
    if os.geteuid() == 0:
        try:
            user = pwd.getpwnam("postgres")
        except KeyError:
            missing("there is no user postgres, and PostgreSQL does not run as root")
        as_user = ["runuser", "-u", "postgres", "--"]
        for path in (folder, secret):
            os.chown(path, user.pw_uid, user.pw_gid)

    def run(*command: str) -> None:
        # Output to a file: the server inherits it, and a pipe would stay open as long as the server runs.
        with (folder / "commands.log").open("ab") as output:
            subprocess.run([*as_user, *command], check=True, cwd=folder, stdout=output, stderr=output, timeout=120)

    data = str(folder / "data")
    try:
        run("initdb", "-D", data, "-U", "postgres", "-A", "scram-sha-256", "--pwfile", str(secret), "--no-sync")
        options = f"-p {server.port} -h {LOOPBACK} -k {folder} -c fsync=off -c max_connections=200"
        run("pg_ctl", "start", "-w", "-D", data, "-l", str(folder / "server.log"), "-o", options)
        try:
            yield server
        finally:
            run("pg_ctl", "stop", "-w", "-m", "immediate", "-D", data)
    except subprocess.CalledProcessError as error:
        logs = [path.read_text(errors="replace")[-2000:] for path in folder.glob("*.log")]
        raise RuntimeError(f"{error}:\n" + "\n".join(logs)) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Mlflow:
    """A running server. `password` is of the user `admin`, empty where it asks nobody who he is."""

    url: str
    password: str

    def environment(self, user: str = "admin", password: str | None = None) -> dict[str, str]:
        """What a client needs to be `user`."""
        if not self.password:
            return {"MLFLOW_TRACKING_URI": self.url}
        return {
            "MLFLOW_TRACKING_URI": self.url,
            "MLFLOW_TRACKING_USERNAME": user,
            "MLFLOW_TRACKING_PASSWORD": self.password if password is None else password,
        }


@contextmanager
def mlflow(
    database: str,
    folder: Path,
    artifacts: str | None = None,
    users: str | None = None,
    host: str = LOOPBACK,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Mlflow]:
    """An MLflow server that hands out artifacts itself.

    Args:
        database: its URL.
        folder: for its log, and the artifacts unless `artifacts` says where: `s3://bucket/prefix`.
        users: URL of the database of users; with it basic-auth is on, and whoever is not named may read only.
        host: address to listen on; pods of a cluster reach this machine at another than loopback.
        environment: the S3 server's address and keys.
    """
    port = free_port(host)
    url = f"http://{host}:{port}"
    password = secrets.token_hex(16) if users else ""
    # Of its many helpers none is needed; each is another process.
    variables = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **(environment or {})}
    variables.update(MLFLOW_TRACKING_URI="", MLFLOW_TRACKING_USERNAME="", MLFLOW_TRACKING_PASSWORD="")
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", database, "--serve-artifacts"]
    command += ["--artifacts-destination", artifacts or (folder / "artifacts").as_uri()]
    command += ["--host", host, "--port", str(port), "--workers", "1", "--allowed-hosts", f"{host}:{port}"]
    if users:
        config = folder / "basic_auth.ini"
        config.write_text(
            f"[mlflow]\ndefault_permission = READ\ndatabase_uri = {users}\nadmin_username = admin\n"
            "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
            "auth_cache_ttl_seconds = 60\n"  # a password is hashed for a second of CPU otherwise, at every request
        )
        config.chmod(0o600)
        variables["MLFLOW_AUTH_CONFIG_PATH"] = str(config)
        variables["MLFLOW_AUTH_ADMIN_PASSWORD"] = password
        variables["MLFLOW_FLASK_SERVER_SECRET_KEY"] = secrets.token_hex(16)
        command += ["--app-name", "basic-auth"]
    with process(command, folder / "mlflow.log", lambda: answers(f"{url}/health"), variables):
        yield Mlflow(url, password)


@dataclass(frozen=True)
class Prefect:
    """A running server, and a worker of the work pool PREFECT_WORK_POOL if it was asked for."""

    url: str
    home: Path

    @property
    def environment(self) -> dict[str, str]:
        """What a client needs."""
        return {"PREFECT_API_URL": self.url, "PREFECT_HOME": str(self.home)} | _QUIET


@contextmanager
def prefect(database: str, folder: Path, worker: bool = False, host: str = LOOPBACK) -> Iterator[Prefect]:
    """A Prefect server on `database` (`postgresql+asyncpg://…`); with `worker`, one of type process as well."""
    port = free_port(host)
    server = Prefect(f"http://{host}:{port}/api", folder / "prefect-home")
    variables = server.environment | {"PREFECT_API_DATABASE_CONNECTION_URL": database}
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", host, "--port", str(port)]
    with ExitStack() as stack:
        stack.enter_context(
            process(command, folder / "prefect.log", lambda: answers(f"{server.url}/health"), variables)
        )
        if worker:
            client = [sys.executable, "-m", "prefect", "--no-prompt"]
            pool = [*client, "work-pool", "create", PREFECT_WORK_POOL, "--type", "process"]
            subprocess.run(
                pool, check=True, env=os.environ | server.environment, stdout=subprocess.DEVNULL, timeout=180
            )
            log = folder / "prefect-worker.log"
            started = [*client, "worker", "start", "--pool", PREFECT_WORK_POOL, "--name", "tests"]
            stack.enter_context(
                process(started, log, lambda: "started" in log.read_text(errors="replace"), server.environment)
            )
        yield server


@dataclass(frozen=True)
class S3:
    """A running server with a bucket."""

    endpoint: str
    key: str
    secret: str
    bucket: str

    @property
    def environment(self) -> dict[str, str]:
        """What boto3, s3fs, DVC and MLflow read."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_DEFAULT_REGION": "us-east-1",
            "MLFLOW_S3_ENDPOINT_URL": self.endpoint,
        }

    def client(self) -> Any:
        """boto3's, of this server."""
        import boto3  # noqa: PLC0415
        from botocore.config import Config  # noqa: PLC0415

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.key,
            aws_secret_access_key=self.secret,
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}),
        )


@contextmanager
def s3() -> Iterator[S3]:
    """The S3 server of AWS_ENDPOINT_URL with the keys beside it, else one that the command $DP2O_CEPH_S3 starts.

    The command is `<path> up`, which prints exports, `<path> status` and `<path> down`. Every caller gets a new bucket.
    A server that ran before goes on running.
    """
    command = os.environ.get("DP2O_CEPH_S3", "")
    variables = dict(os.environ)
    ours = False
    if "AWS_ENDPOINT_URL" not in variables:
        if not command:
            missing("no S3 server: set AWS_ENDPOINT_URL and its keys, or DP2O_CEPH_S3 to a command like ceph-s3")
        ours = subprocess.run([command, "status"], capture_output=True, check=False, timeout=600).returncode != 0
        told = subprocess.run([command, "up"], stdout=subprocess.PIPE, text=True, check=True, timeout=600).stdout
        variables |= dict(line.removeprefix("export ").split("=", 1) for line in told.splitlines() if "=" in line)
    keys = (variables["AWS_ENDPOINT_URL"], variables["AWS_ACCESS_KEY_ID"], variables["AWS_SECRET_ACCESS_KEY"])
    try:
        server = S3(*keys, bucket=f"dp2o-{secrets.token_hex(6)}")
        server.client().create_bucket(Bucket=server.bucket)
        try:
            yield server
        finally:
            _remove(server)
    finally:
        if ours:
            subprocess.run([command, "down"], check=True, timeout=180)


def _remove(server: S3) -> None:
    """The bucket with all versions of everything: a server in memory is shared by whoever tests."""
    client = server.client()
    for page in client.get_paginator("list_object_versions").paginate(Bucket=server.bucket):
        for one in [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]:
            client.delete_object(Bucket=server.bucket, Key=one["Key"], VersionId=one["VersionId"])
    client.delete_bucket(Bucket=server.bucket)
