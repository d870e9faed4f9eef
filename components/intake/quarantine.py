"""What cannot be used: a copy under the quarantine prefix, and why beside it. The original is left where it is.

Nothing can be lost that way: the intake needs no right to delete, and a defect here cannot destroy what a customer
sent. That an object was handled is known from data/intake.json; the names here follow from its identity alone, so that
a run that is repeated after a crash writes the same again.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from components.intake.listing import SourceObject
from components.photos.unusable import Reason, UnusablePhotoError
from components.storage.s3 import Client, Place, status_of

COPY_AT_ONCE = 5 * 2**30
"""Bytes that one request copies at most; larger objects are copied in parts."""


def set_aside(
    client: Client, source: Place, quarantine: Place, found: SourceObject, problem: UnusablePhotoError
) -> bool:
    """Copy `found` to `<quarantine>/<identity>/object`, then write `reason.json` beside it; False if that was done
    before.

    The record is written last: where it is, the copy is whole. Where the original is gone or was replaced meanwhile the
    record stands alone and says so.
    """
    from boto3.s3.transfer import TransferConfig  # noqa: PLC0415
    from botocore.exceptions import ClientError  # noqa: PLC0415

    folder = f"{quarantine.prefix}{found.identity}"
    record = _record(source, found, problem)
    known = _existing(client, quarantine.bucket, f"{folder}/reason.json")
    if known == record:
        return False
    original = {"Bucket": source.bucket, "Key": found.key} | ({"VersionId": found.version} if found.version else {})
    metadata = {"dp2o-reason": str(problem.reason), "dp2o-key": quote(found.key, safe="/")[:1000]}
    try:
        client.copy(
            original,
            quarantine.bucket,
            f"{folder}/object",
            ExtraArgs={
                "CopySourceIfMatch": found.etag,
                "Metadata": metadata,
                "MetadataDirective": "REPLACE",
                "ContentType": "application/octet-stream",  # a browser shall not run what it finds here
            },
            Config=TransferConfig(multipart_threshold=COPY_AT_ONCE, use_threads=False),
        )
        copied = client.head_object(Bucket=quarantine.bucket, Key=f"{folder}/object")
        if copied["ContentLength"] != found.size:
            raise OSError(f"{quarantine}{found.identity}/object has {copied['ContentLength']} of {found.size} bytes")
    except ClientError as error:
        if status_of(error) not in (404, 412):
            raise
        record |= {"copy": "none: the original was removed or replaced before it could be copied"}
    body = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    client.put_object(
        Bucket=quarantine.bucket, Key=f"{folder}/reason.json", Body=body.encode(), ContentType="application/json"
    )
    return True


def recorded(client: Client, quarantine: Place, found: SourceObject) -> UnusablePhotoError | None:
    """Why an object was set aside before; None where it was not."""
    record = _existing(client, quarantine.bucket, f"{quarantine.prefix}{found.identity}/reason.json")
    try:
        return None if record is None else UnusablePhotoError(Reason(record["reason"]), str(record["detail"]))
    except (KeyError, ValueError):
        return None


def _record(source: Place, found: SourceObject, problem: UnusablePhotoError) -> dict[str, Any]:
    return {
        "bucket": source.bucket,
        "key": found.key,
        "version": found.version,
        "etag": found.etag,
        "size": found.size,
        "modified": found.modified.isoformat(),
        "reason": str(problem.reason),
        "detail": problem.detail,
    }


def _existing(client: Client, bucket: str, key: str) -> dict[str, Any] | None:
    from botocore.exceptions import ClientError  # noqa: PLC0415

    try:
        record: dict[str, Any] = json.loads(client.get_object(Bucket=bucket, Key=key)["Body"].read())
    except ClientError as error:
        if status_of(error) != 404:
            raise
        return None
    except ValueError:
        return None
    return record if isinstance(record, dict) else None
