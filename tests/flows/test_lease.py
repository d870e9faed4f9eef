"""The lease on a server in memory: one that honours conditions, ones that do not, and objects that are damaged."""

import io
import json
from email.utils import formatdate
from typing import Any

import pytest
from botocore.exceptions import ClientError

from components.errors import BadInput
from components.storage.s3 import Place
from flows.fence import LostLeaseError
from flows.lease import HeldByAnotherError, read_lease, take

PLACE = Place("bucket", "leases/retrain/")
KEY = "leases/retrain"


class Server:
    """What a lease asks of S3; `ignored` are conditions that it takes and does not honour."""

    def __init__(self, *ignored: str) -> None:
        self.ignored = ignored
        self.objects: dict[str, tuple[bytes, str]] = {}
        self.writes = 0

    def put_object(self, Bucket: str, Key: str, Body: str | bytes, **given: Any) -> dict[str, Any]:  # noqa: N803
        held = self.objects.get(Key)
        none, match = given.get("IfNoneMatch"), given.get("IfMatch")
        refused = none is not None and held is not None and "IfNoneMatch" not in self.ignored
        if match is not None and "IfMatch" not in self.ignored:
            refused = refused or held is None or held[1].strip('"') != match.strip('"')
        if refused:
            raise error(412, "PreconditionFailed")
        self.writes += 1
        self.objects[Key] = (Body if isinstance(Body, bytes) else Body.encode(), f'"{self.writes:032x}"')
        return {"ETag": self.objects[Key][1]}

    def get_object(self, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: N803
        if Key not in self.objects:
            raise error(404, "NoSuchKey")
        body, etag = self.objects[Key]
        return {"Body": io.BytesIO(body), "ETag": etag}

    def list_objects_v2(self, **_: Any) -> dict[str, Any]:
        return {"ResponseMetadata": {"HTTPHeaders": {"date": formatdate(usegmt=True)}}}


def error(status: int, code: str) -> ClientError:
    return ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "call")  # type: ignore[typeddict-item]


def test_one_holds_it_and_the_next_has_a_higher_number() -> None:
    server = Server()
    first = take(server, PLACE, "one")
    with pytest.raises(HeldByAnotherError):
        take(server, PLACE, "two")
    first.release()
    second = take(server, PLACE, "two")
    assert (first.held.holders, second.held.holders) == (1, 2)
    assert second.fence.trailer == "Dp2o-Holder: 2"
    with pytest.raises(LostLeaseError):
        first.check()
    second.release()


def test_a_lost_object_counts_on_from_what_the_branch_has() -> None:
    lease = take(Server(), PLACE, "one", after=7)
    assert lease.held.holders == 8
    lease.release()


@pytest.mark.parametrize("ignored", ["IfMatch", "IfNoneMatch"])
def test_a_server_that_ignores_conditions_is_refused_before_anything_is_taken(ignored: str) -> None:
    server = Server(ignored)
    with pytest.raises(BadInput, match=f"does not honour {ignored[:2]}-.*two holders. Set lease.url"):
        take(server, PLACE, "one")
    assert KEY not in server.objects


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"7", b"null", b'{"owner": "x"}', b'{"expires": 1}'],
)
def test_a_damaged_lease_says_the_way_out(content: bytes) -> None:
    server = Server()
    server.objects[KEY] = (content, '"1"')
    for ask in (lambda: take(server, PLACE, "one"), lambda: read_lease(server, PLACE)):
        with pytest.raises(BadInput, match=r"is damaged .*delete the object leases/retrain of bucket bucket"):
            ask()
    assert server.objects[KEY][0] == content
    del server.objects[KEY]
    take(server, PLACE, "one")


@pytest.mark.parametrize("change", [{"expires": "soon"}, {"expires": "2026-01-01T00:00:00"}, {"holders": "7"}])
def test_plausible_json_that_is_no_lease_does_too(change: dict[str, Any]) -> None:
    server = Server()
    lease = take(server, PLACE, "one")
    lease.release()
    content = json.loads(server.objects[KEY][0]) | change
    server.objects[KEY] = (json.dumps(content).encode(), '"1"')
    with pytest.raises(BadInput, match="is damaged"):
        take(server, PLACE, "two")


def test_a_lease_that_is_damaged_while_it_is_held_is_lost() -> None:
    server = Server()
    lease = take(server, PLACE, "one")
    server.objects[KEY] = (b"{", '"1"')
    with pytest.raises(LostLeaseError):
        lease.check()
    lease.release()
    assert server.objects[KEY][0] == b"{"
