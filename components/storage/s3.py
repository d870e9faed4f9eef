"""S3 through boto3: one configured client, places as URLs, the server's clock, and errors a user can act on."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

from components.errors import BadInput, ResumeLater

Client = Any
"""A boto3 S3 client; boto3 makes its classes at run time."""

_TRY_AGAIN = (408, 429)


@dataclass(frozen=True)
class Place:
    """A bucket and the start of keys in it."""

    bucket: str
    prefix: str

    @classmethod
    def parse(cls, url: str, setting: str) -> "Place":
        """Read `s3://bucket/prefix/`; a prefix gets its final slash, so that `new` does not mean `newer/…` as well.

        Raises:
            BadInput: another kind of URL; `setting` is named.
        """
        bucket, _, prefix = url.removeprefix("s3://").partition("/")
        if not url.startswith("s3://") or not bucket:
            raise BadInput(f"{setting} is {url!r}: write s3://bucket/prefix/")
        return cls(bucket, f"{prefix.rstrip('/')}/" if prefix.strip("/") else "")

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}"

    def holds(self, other: "Place") -> bool:
        """True where every object of `other` is one of this place."""
        return self.bucket == other.bucket and other.prefix.startswith(self.prefix)


def connect(attempts: int = 8, timeout: float = 30.0) -> Client:
    """A client of the server that AWS_ENDPOINT_URL and the usual AWS_* variables name.

    Failures on the server's side, throttling and timeouts are tried again, with growing random pauses.

    Args:
        attempts: calls a request, the first included.
        timeout: seconds to connect, and between two pieces of an answer.
    """
    import boto3  # noqa: PLC0415  # half a second, which settings and help should not cost
    from botocore.config import Config  # noqa: PLC0415

    config = Config(
        retries={"mode": "standard", "total_max_attempts": attempts},
        connect_timeout=timeout,
        read_timeout=timeout,
        max_pool_connections=4,
        # Servers other than Amazon's refuse the checksums that newer clients add by themselves.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    return boto3.session.Session().client("s3", config=config)  # the default session would keep old credentials


def server_time(response: dict[str, Any]) -> datetime:
    """The server's own clock when it answered: whole seconds, UTC. Clocks of two clients need not agree."""
    return parsedate_to_datetime(response["ResponseMetadata"]["HTTPHeaders"]["date"])


def status_of(error: Exception) -> int:
    """HTTP status of a botocore ClientError."""
    response: dict[str, Any] = getattr(error, "response", {})
    return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


@contextmanager
def s3_errors(what: str) -> Iterator[None]:
    """boto3's errors as the user's: `what` says what was being done, and where.

    Raises:
        ResumeLater: the server is away, or fails, after all attempts.
        BadInput: it refuses: wrong credentials, no such bucket, not allowed; or there are no credentials.
    """
    from botocore.exceptions import (  # noqa: PLC0415
        BotoCoreError,
        ClientError,
        ConnectionError,
        HTTPClientError,
        IncompleteReadError,
        NoCredentialsError,
        PartialCredentialsError,
    )

    try:
        yield
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise BadInput(f"{what}: {error}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY") from error
    except ClientError as error:
        status = status_of(error)
        if 400 <= status < 500 and status not in _TRY_AGAIN:
            raise BadInput(f"{what}: {error}; check the bucket's name, the credentials and their rights") from error
        raise ResumeLater(f"{what}: {error}; nothing is lost: run the same command again") from error
    except (ConnectionError, HTTPClientError, IncompleteReadError) as error:
        raise ResumeLater(f"{what}: {error}; run the same command again when the server answers") from error
    except BotoCoreError as error:
        raise BadInput(f"{what}: {error}; check AWS_ENDPOINT_URL and the other AWS_* variables") from error


def read_object(client: Client, bucket: str, key: str) -> tuple[bytes, str] | None:
    """Content and ETag of a small object; None where there is none."""
    from botocore.exceptions import ClientError  # noqa: PLC0415

    try:
        answer = client.get_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if status_of(error) == 404 and error.response["Error"]["Code"] != "NoSuchBucket":
            return None
        raise
    return answer["Body"].read(), str(answer["ETag"])


def put_if(client: Client, bucket: str, key: str, content: bytes, after: str | None) -> str | None:
    """Write where nothing is (`after` None), or over the object with that ETag.

    The new ETag; None if another was first.

    The standard has quotes around an ETag; Ceph 16 compares them with its own that has none. Either form is a
    condition, so that trying the other one can only succeed where the first should have.
    """
    from botocore.exceptions import ClientError  # noqa: PLC0415

    request = {"Bucket": bucket, "Key": key, "Body": content, "ContentType": "application/json"}
    conditions = [{"IfNoneMatch": "*"}] if after is None else [{"IfMatch": after}, {"IfMatch": after.strip('"')}]
    for condition in conditions:
        try:
            return str(client.put_object(**request, **condition)["ETag"])
        except ClientError as error:
            if status_of(error) not in (404, 409, 412):
                raise
    return None
