"""What lies under a prefix: page by page, so that memory does not grow with the number of objects."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from components.storage.s3 import Client, Place, server_time

PAGE = 1000


@dataclass(frozen=True)
class SourceObject:
    """One version of an object.

    Attributes:
        version: of a versioned bucket; empty in another one.
        modified: by the server's clock. Of a multipart upload some servers give its start.
        now: that clock when the object was listed.
    """

    key: str
    version: str
    etag: str
    size: int
    modified: datetime
    now: datetime

    @property
    def identity(self) -> str:
        """32 hex digits of key, version and ETag: another content, or another upload, is another object."""
        return hashlib.sha256("\x00".join((self.key, self.version, self.etag)).encode()).hexdigest()[:32]

    @property
    def age(self) -> float:
        """Seconds, by the server's clock, which is told in whole seconds: never below 0."""
        return max(0.0, (self.now - self.modified).total_seconds())


def listed(client: Client, place: Place, page: int = PAGE) -> Iterator[SourceObject]:
    """All objects of `place`, in the order of their keys; in a versioned bucket all versions.

    What was overwritten is still an image that came in. What was deleted is not: a key whose newest entry is a delete
    marker is left out with all its versions, since whoever deleted it does not want it used.
    Multipart uploads are not listed before they are complete. Keys that end with a slash are folders of consoles.
    """
    if client.get_bucket_versioning(Bucket=place.bucket).get("Status") in {"Enabled", "Suspended"}:
        yield from _versions(client, place, page)
        return
    pages = client.get_paginator("list_objects_v2").paginate(
        Bucket=place.bucket, Prefix=place.prefix, PaginationConfig={"PageSize": page}
    )
    for answer in pages:
        now = server_time(answer)
        for entry in answer.get("Contents", []):
            if not entry["Key"].endswith("/"):
                yield _found(entry, "", now)


def _versions(client: Client, place: Place, page: int) -> Iterator[SourceObject]:
    pages = client.get_paginator("list_object_versions").paginate(
        Bucket=place.bucket, Prefix=place.prefix, PaginationConfig={"PageSize": page}
    )
    last_deleted = ""
    for answer in pages:
        now = server_time(answer)
        # A key's entries come newest first, so its marker is on this page or was the last one of an earlier page.
        deleted = [entry["Key"] for entry in answer.get("DeleteMarkers", []) if entry["IsLatest"]]
        gone = {last_deleted, *deleted}
        for entry in answer.get("Versions", []):
            if entry["Key"] not in gone and not entry["Key"].endswith("/"):
                # before versioning was switched on objects had the version "null", which get and copy understand
                yield _found(entry, entry["VersionId"], now)
        last_deleted = max(deleted, default=last_deleted)


def _found(entry: dict[str, Any], version: str, now: datetime) -> SourceObject:
    return SourceObject(entry["Key"], version, entry["ETag"].strip('"'), int(entry["Size"]), entry["LastModified"], now)
