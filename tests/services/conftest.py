"""One server of each kind for all tests here, started when the first test asks for it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services import servers
from tests.services.servers import S3, Mlflow, Postgres, Prefect


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.services)


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
