"""The servers themselves: what a test gets is real, and refuses whom it should."""

import urllib.error
import urllib.request

import psycopg
import pytest
from botocore.exceptions import ClientError

from tests.services import servers
from tests.services.servers import S3, Mlflow, Postgres, Prefect


def test_postgres_wants_its_password(postgres: Postgres) -> None:
    with psycopg.connect(postgres.url("postgres", driver="")) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(Postgres(postgres.port, "wrong").url("postgres", driver=""))


def test_mlflow_wants_to_know_who_asks(mlflow_server: Mlflow) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{mlflow_server.url}/api/2.0/mlflow/experiments/search?max_results=1")
    assert refused.value.code == 401


def test_prefect_answers(prefect_server: Prefect) -> None:
    with urllib.request.urlopen(f"{prefect_server.url}/health") as answer:
        assert answer.read() == b"true"


def test_s3_refuses_a_wrong_secret(s3: S3) -> None:
    s3.client().put_object(Bucket=s3.bucket, Key="a", Body=b"1")
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        S3(s3.endpoint, s3.key, "wrong", s3.bucket).client().list_objects_v2(Bucket=s3.bucket)


def test_what_is_missing_fails_under_ci_and_is_skipped_loudly_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no server"):
        servers.missing("no server")
    monkeypatch.delenv("CI")
    with pytest.raises(pytest.skip.Exception, match="NOT run"):
        servers.missing("no server")
