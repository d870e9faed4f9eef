"""One server of each kind for all tests here, started when the first test asks for it."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services import servers
from tests.services.accounts import Keys, accounts
from tests.services.servers import S3, Mlflow, Postgres, Prefect


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.services)


@pytest.fixture(scope="session", autouse=True)
def _servers_go_when_the_tests_are_asked_to_end() -> Iterator[None]:
    """SIGTERM, a CI job's end, would leave them running: it becomes Ctrl-C, after which fixtures are torn down."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt), signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGTERM, before[0])
    signal.signal(signal.SIGINT, before[1])


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with servers.postgres() as server:
        yield server


@pytest.fixture(scope="session")
def mlflow_server(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mlflow]:
    """On PostgreSQL, with users: `admin` may do all, others only what they are told to."""
    for database in ("mlflow", "mlflow_users"):
        postgres.create(database)
    folder = tmp_path_factory.mktemp("mlflow-server")
    with servers.mlflow(postgres.url("mlflow"), folder, users=postgres.url("mlflow_users")) as server:
        yield server


@pytest.fixture(scope="session")
def prefect_server(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prefect]:
    """On PostgreSQL, with a process worker of the work pool `tests`."""
    postgres.create("prefect")
    folder = tmp_path_factory.mktemp("prefect-server")
    with servers.prefect(postgres.url("prefect", "+asyncpg"), folder, worker=True) as server:
        yield server


@pytest.fixture(scope="session")
def s3() -> Iterator[S3]:
    with servers.s3() as server:
        yield server


@pytest.fixture(scope="module")
def keys(s3: S3) -> Iterator[Keys]:
    """Key and secret of an S3 account of each role."""
    with accounts() as made:
        yield made
