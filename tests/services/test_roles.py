"""Each role has its own S3 account, and a real server refuses it what is another's, by k8s/s3/policy.json."""

from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from components.errors import BadInput
from components.registry.anchor import Anchored, S3Anchor
from components.storage.s3 import Client, Place, status_of
from components.storage.store import Store
from flows.lease import take
from tests.services.accounts import ROLES, Keys, client_of, put_policy
from tests.services.s3 import bucket, s3_environment  # noqa: F401
from tests.services.servers import S3

KEYS = {
    "object": "store/files/md5/ab/cdef",
    "result": "store/dp2o/results/one.json",
    "cache": "store/dp2o/cache/one",
    "task": "store/dp2o/tasks/one.json",
    "lease": "store/dp2o/leases/retrain",
    "use": "store/dp2o/leases/use/one.json",
    "gc": "store/dp2o/leases/gc.json",
    "picture": "incoming/one.png",
    "bad picture": "quarantine/one.png",
    "anchor": "anchor/dp2o-sr.json",
    "artifact": "mlflow/1/abc/artifacts/model.safetensors",
    "pair": "pairs/one.png",
    "other": "somebody/else",
}
MAY = {
    "stages": {
        "read": {"object", "result", "cache", "task", "lease", "use", "gc", "picture", "bad picture", "anchor"},
        "write": {"object", "result", "cache", "bad picture"},
        "delete": {"object", "cache"},
    },
    "flow": {
        "read": {"object", "result", "cache", "task", "lease", "use", "gc", "anchor"},
        "write": {"object", "result", "cache", "task", "lease", "use", "gc"},
        "delete": {"object", "cache", "use"},
    },
    "promoter": {
        "read": {"object", "result", "cache", "task", "lease", "use", "gc", "picture", "bad picture", "anchor"},
        "write": {"object", "result", "cache", "bad picture", "anchor"},
        "delete": {"object", "cache"},
    },
    "mlflow": {"read": {"artifact"}, "write": {"artifact"}, "delete": {"artifact"}},
    "monitor": {"read": {"pair", "anchor"}, "write": set(), "delete": set()},
    "cleaner": {
        "read": {"object", "result", "cache", "task", "lease", "use", "gc", "anchor"},
        "write": {"gc"},
        "delete": {"object", "result", "cache", "task", "gc"},
    },
}


@pytest.fixture
def place(bucket: tuple[Client, str], keys: Keys) -> str:  # noqa: F811
    """Name of a bucket with the policy and an object of each kind."""
    owner, name = bucket
    put_policy(owner, name, keys)
    for key in KEYS.values():
        owner.put_object(Bucket=name, Key=key, Body=b"x")
    return name


def allowed(client: Client, action: str, bucket: str, key: str) -> bool:  # noqa: F811
    call = {"read": client.get_object, "write": client.put_object, "delete": client.delete_object}[action]
    try:
        call(Bucket=bucket, Key=key)
    except ClientError as error:
        if status_of(error) != 403:
            raise
        return False
    return True


@pytest.mark.parametrize("role", ROLES)
def test_a_role_may_do_its_work_and_is_refused_what_is_anothers(role: str, place: str, s3: S3, keys: Keys) -> None:
    client = client_of(s3.endpoint, *keys[role])
    for action in ("read", "write", "delete"):
        found = {kind for kind, key in KEYS.items() if allowed(client, action, place, key)}
        assert found == MAY[role][action], (role, action)
    # Names are everybody's: without the right to list, a server answers 403 where there is nothing, and not 404.
    assert client.list_objects_v2(Bucket=place, Prefix="somebody/")["KeyCount"] > 0
    with pytest.raises(ClientError, match="404"):
        client.head_object(Bucket=place, Key="store/nothing")
    for change in (client.delete_bucket_policy, client.get_bucket_policy):
        with pytest.raises(ClientError, match=r"AccessDenied|MethodNotAllowed"):
            change(Bucket=place)


def test_the_project_s_own_work_is_possible_with_these_rights(
    place: str, s3: S3, keys: Keys, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The store for stages, the lease for flows, the anchor for a promoter; the others are refused, with a reason."""

    def be(role: str) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", keys[role][0])
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", keys[role][1])

    file = tmp_path / "file"
    file.write_bytes(b"content")
    anchor = S3Anchor(Place(place, "anchor/"))
    lease = Place(place, "store/dp2o/leases/other/")

    be("stages")
    store = Store(f"s3://{place}/store", patience=5.0)
    content = store.keep(file)
    assert store.exists(content.md5)
    store.set_aside(content.md5)
    assert not Store(f"s3://{place}/store", patience=5.0).exists(content.md5)
    store.keep_file("cache/two/three", file)
    store.remove("cache/two")
    assert store.names("cache/two") == []
    with pytest.raises(BadInput, match="AccessDenied"):
        anchor.write("dp2o-new", Anchored(1, "a" * 64), None)
    with pytest.raises(BadInput, match="AccessDenied"):
        take(client_of(s3.endpoint, *keys["stages"]), lease, "a stage")

    be("flow")
    take(client_of(s3.endpoint, *keys["flow"]), lease, "a flow").release()
    with pytest.raises(BadInput, match="AccessDenied"):
        anchor.write("dp2o-new", Anchored(1, "a" * 64), None)

    be("promoter")
    assert anchor.write("dp2o-new", Anchored(1, "a" * 64), None)
    with pytest.raises(BadInput, match="AccessDenied"):
        take(client_of(s3.endpoint, *keys["promoter"]), lease, "a promoter")
