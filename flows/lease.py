"""One at a time, across machines: a lease as one small object in S3, taken and kept by conditional writes.

    absent ──PUT If-None-Match: *──> held ──PUT If-Match: <etag>──> held (renewed) …──> released or expired
                                                                                          └──PUT If-Match──> held by
                                                                                          another

Of several that write at once the server lets one through and answers the others 412. Times are the server's own (its
`Date` header): two machines' clocks need not agree. The object is never deleted, because not every S3 server deletes
conditionally: a released lease is one that has expired.

A holder that was paused (a suspended machine, a long network failure) may wake up after another took over. So whatever
must not happen twice calls `check` just before, which asks the server; and the last word is with what it writes to: a
git branch takes no commit that follows one of a later holder (flows/fence.py), and the registry's history no promotion
that does not follow the last.

A server that does not honour conditions would let all through. It is tried before anything is taken.
"""

from __future__ import annotations

import json
import logging
import os
import random
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from components.errors import BadInput, ResumeLater
from components.storage.s3 import Client, Place, put_if, read_object, s3_errors, server_time, status_of
from flows.fence import Fence, LostLeaseError

logger = logging.getLogger("dp2o.lease")

_ATTEMPTS = 10


class HeldByAnotherError(Exception):
    """Another holds the lease; `held` says who, and until when."""

    def __init__(self, held: LeaseRecord) -> None:
        super().__init__(f"held by {held.owner} until {held.expires} (the S3 server's clock): {held.what}")
        self.held = held


@dataclass(frozen=True)
class LeaseRecord:
    """Content of the lease object.

    Attributes:
        owner: machine and process, for people.
        token: of this holder alone; another attempt of the same process has another.
        what: what it is held for, for people.
        taken, expires: ISO 8601, the server's clock. Expired at or after `expires`.
        holders: how many have held it so far.
    """

    owner: str
    token: str
    what: str
    taken: str
    expires: str
    holders: int

    def expired(self, now: datetime) -> bool:
        """Whether another may take it over."""
        return now >= datetime.fromisoformat(self.expires)


class Lease:
    """A lease that this process holds; it is renewed in the background until it is released."""

    def __init__(self, client: Client, place: Place, held: LeaseRecord, etag: str, seconds: float) -> None:
        self._client, self._place, self._seconds = client, place, seconds
        self._held, self._etag = held, etag
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._lost = ""
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
        self._thread.start()

    @property
    def held(self) -> LeaseRecord:
        """What the server holds."""
        return self._held

    @property
    def fence(self) -> Fence:
        """What commits of this holder carry."""
        return Fence(self._held.holders, self.check)

    def check(self) -> None:
        """Renew now; call this just before anything that must not happen twice.

        Raises:
            LostLeaseError: another has it, or the server cannot say.
        """
        with self._lock:
            if not self._lost:
                self._renew()
            if self._lost:
                raise LostLeaseError(f"{self._place}: {self._lost}; nothing more is published")

    def release(self) -> None:
        """Give it back; nothing happens if it was lost."""
        self._ended.set()
        self._thread.join()
        with self._lock:
            if not self._lost:
                self._renew(over=True)

    def _keep(self) -> None:
        # three attempts within a lease's time
        while not self._ended.wait(self._seconds / 3):
            with self._lock:
                if self._lost:
                    return
                # A failure here may pass: nobody can take over before the lease has expired, and `check` asks again.
                self._renew(patient=True)

    def _renew(self, over: bool = False, patient: bool = False) -> None:
        """One conditional write; sets `_lost` where it shows that another came, and, unless `patient`, without an
        answer."""
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        try:
            now = _now(self._client, self._place)
            expires = now if over else now + timedelta(seconds=self._seconds)
            renewed = replace(self._held, expires=expires.isoformat())
            etag = _put(self._client, self._place, renewed, self._etag)
            if etag is not None:
                self._held, self._etag = renewed, etag
            elif not self._is_ours():  # it is ours where an earlier write arrived, and its answer did not
                self._lost = "another took the lease over"
        except (BotoCoreError, ClientError) as error:
            if over or patient:
                outcome = "it expires by itself" if over else "tried again soon"
                logger.warning("the lease %s could not be written (%s): %s", self._place, error, outcome)
            else:
                self._lost = f"S3 does not answer ({error}), so that the lease cannot be shown to be ours"

    def _is_ours(self) -> bool:
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        try:
            found = _read(self._client, self._place)
        except (BotoCoreError, ClientError, BadInput):
            return False
        if found is None or found[0].token != self._held.token:
            return False
        self._held, self._etag = found[0], found[1]
        return True


def take(client: Client, place: Place, what: str, seconds: float = 300.0, owner: str = "", after: int = 0) -> Lease:
    """Take the lease at `place` (its prefix is the key), or take over one that expired.

    Args:
        after: a number that this holder's is higher than, whatever the lease itself has counted: who lost the object
            counts on from what the branch has seen.

    Raises:
        HeldByAnotherError: someone holds it.
        BadInput: S3 refuses, or does not honour conditions, or the lease is damaged.
        ResumeLater: S3 is away.
    """
    owner = owner or f"{socket.gethostname()} process {os.getpid()}"
    with s3_errors(f"lease {place}"):
        _try_conditions(client, place)
        for _ in range(_ATTEMPTS):
            found = _read(client, place)
            now = _now(client, place)
            if found is not None and not found[0].expired(now):
                raise HeldByAnotherError(found[0])
            holders = max(found[0].holders if found else 0, after) + 1
            times = (now.isoformat(), (now + timedelta(seconds=seconds)).isoformat())
            held = LeaseRecord(owner, uuid.uuid4().hex, what, *times, holders)
            etag = _put(client, place, held, found[1] if found else None)
            if etag is None:
                time.sleep(random.uniform(0.1, 0.5))
                continue  # another was quicker: look again at who holds it
            if found:
                logger.info("lease %s taken; %s had it until %s", place, found[0].owner, found[0].expires)
            return Lease(client, place, held, etag, seconds)
    raise ResumeLater(f"lease {place}: {_ATTEMPTS} conditional writes were refused, and nobody holds it: run it again")


@contextmanager
def holding(client: Client, place: Place, what: str, seconds: float = 300.0) -> Iterator[Lease]:
    """`take` it, and release it whatever happens.

    Raises:
        HeldByAnotherError: someone holds it.
    """
    lease = take(client, place, what, seconds)
    try:
        yield lease
    finally:
        lease.release()


def read_lease(client: Client, place: Place) -> tuple[LeaseRecord | None, bool]:
    """Who has, or had, the lease, and whether it is held now.

    Raises:
        BadInput: S3 refuses.
        ResumeLater: S3 is away.
    """
    with s3_errors(f"lease {place}"):
        found = _read(client, place)
        if found is None:
            return None, False
        return found[0], not found[0].expired(_now(client, place))


def _key(place: Place) -> str:
    return place.prefix.rstrip("/")


def _read(client: Client, place: Place) -> tuple[LeaseRecord, str] | None:
    found = read_object(client, place.bucket, _key(place))
    if found is None:
        return None
    content, etag = found
    try:
        values: dict[str, Any] = json.loads(content)
        held = LeaseRecord(**values)
        held.expired(datetime.now(UTC))
        if type(held.holders) is not int:
            raise TypeError(f"holders is {held.holders!r}")
    except (ValueError, TypeError) as error:
        raise BadInput(
            f"the lease {place} is damaged ({error}), so that nobody knows who holds it: see that no retrain runs "
            f"(Prefect's page), delete the object {_key(place)} of bucket {place.bucket}, and start again"
        ) from error
    return held, etag


def _try_conditions(client: Client, place: Place) -> None:
    """See that the server refuses what its conditions exclude, on an object beside the lease.

    Raises:
        BadInput: it does not.
    """
    from botocore.exceptions import ClientError  # noqa: PLC0415

    request = {"Bucket": place.bucket, "Key": f"{_key(place)}-probe", "ContentType": "text/plain"}
    text = "Whether this server honours If-Match and If-None-Match; may be deleted.\n"
    client.put_object(**request, Body=text)
    for name, condition in (("If-None-Match", {"IfNoneMatch": "*"}), ("If-Match", {"IfMatch": f'"{"0" * 32}"'})):
        try:
            client.put_object(**request, Body=text, **condition)
        except ClientError as error:
            if status_of(error) in (409, 412):
                continue
            if status_of(error) != 501:  # not implemented, which is a no as well
                raise
        raise BadInput(
            f"the S3 server of {place} does not honour {name}: a lease there would have two holders. Set lease.url to "
            "a bucket of a server that does (Amazon S3, Ceph 16, MinIO and newer)"
        )


def _now(client: Client, place: Place) -> datetime:
    return server_time(client.list_objects_v2(Bucket=place.bucket, Prefix=place.prefix, MaxKeys=1))


def _put(client: Client, place: Place, held: LeaseRecord, after: str | None) -> str | None:
    """`put_if` of the lease."""
    return put_if(client, place.bucket, _key(place), json.dumps(asdict(held), indent=2).encode(), after)
