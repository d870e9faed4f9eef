"""The script that makes the two databases, run against a real PostgreSQL."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.k8s.manifests import of_kind

PASSWORDS = {"prefect": 'it\'s a "secret"', "mlflow": "0f9e"}


def _needed(tool: str) -> str:
    path = shutil.which(tool)
    if path is None:
        reason = f"{tool} of PostgreSQL is not on PATH: the database script is NOT run"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return path


@pytest.fixture(scope="module")
def server() -> Iterator[Path]:
    """A PostgreSQL that listens on a socket alone; the folder of its socket."""
    initdb, control = _needed("initdb"), _needed("pg_ctl")
    base = Path(tempfile.mkdtemp(prefix="dp2o-postgres-"))  # pytest's folders are closed to other users
    data, password = base / "data", base / "password"
    password.write_text("top")
    run = []
    if os.geteuid() == 0:  # PostgreSQL refuses root
        run = ["runuser", "-u", "postgres", "--"]
        for path in (base, password):
            shutil.chown(path, "postgres")

    def quietly(*command: str) -> None:
        subprocess.run([*run, *command], check=True, stdout=subprocess.DEVNULL, cwd="/", timeout=300)

    quietly(initdb, "-D", str(data), "-U", "postgres", "--auth-local=scram-sha-256", f"--pwfile={password}")
    options = f"-c listen_addresses='' -k {base}"
    quietly(control, "-D", str(data), "-w", "-l", str(base / "log"), "-o", options, "start")
    yield base
    quietly(control, "-D", str(data), "-m", "immediate", "stop")
    shutil.rmtree(base)


def _query(server: Path, user: str, password: str, database: str, query: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PGPASSWORD": password, "PGHOST": str(server)}
    command = ["psql", "-U", user, "-d", database, "-Atc", query]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd="/", timeout=300)


def test_makes_two_databases_that_see_nothing_of_each_other(server: Path, tmp_path: Path) -> None:
    for name, password in PASSWORDS.items():
        (tmp_path / f"{name}-password").write_text(password)
    script = of_kind("local", "ConfigMap")["dp2o-postgres-init"]["data"]["databases.sh"].replace(
        "/secrets", str(tmp_path)
    )
    environment = os.environ | {"PGPASSWORD": "top", "PGHOST": str(server)}
    # as the image's entrypoint reads it
    done = subprocess.run(
        ["bash", "-Eeo", "pipefail", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr

    for name, password in PASSWORDS.items():
        other = "mlflow" if name == "prefect" else "prefect"
        assert (
            _query(server, name, password, name, "CREATE TABLE t (a int); SELECT current_user").stdout.split()[-1]
            == name
        )
        assert "permission denied" in _query(server, name, password, other, "SELECT 1").stderr
        assert "password authentication failed" in _query(server, name, "wrong", name, "SELECT 1").stderr
    extensions = _query(server, "prefect", PASSWORDS["prefect"], "prefect", "SELECT extname FROM pg_extension").stdout
    assert "pg_trgm" in extensions
