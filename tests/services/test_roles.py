"""Each role has its own S3 account, and the server refuses it what is another's: k8s/s3/policy.json on a real server.

Accounts are made with Ceph's own tool; the policy is the same everywhere.
"""

import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from components.errors import BadInput
from components.registry.anchor import Anchored, S3Anchor
from components.storage.s3 import Client, Place, status_of
from components.storage.store import Store
from flows.lease import take
from tests.made import REPOSITORY
from tests.services.s3 import bucket, s3_environment  # noqa: F401
from tests.services.servers import S3, missing

ROLES = ("stages", "flow", "promoter", "mlflow", "monitor")
KEYS = {
    "object": "store/files/md5/ab/cdef",
    "result": "store/dp2o/results/one.json",
    "cache": "store/dp2o/cache/one",
    "task": "store/dp2o/tasks/one.json",
    "lease": "store/dp2o/leases/retrain",
    "picture": "incoming/one.png",
    "bad picture": "quarantine/one.png",
    "anchor": "anchor/dp2o-sr.json",
    "artifact": "mlflow/1/abc/artifacts/model.safetensors",
    "pair": "pairs/one.png",
    "other": "somebody/else",
}
MAY = {
    "stages": {
        "read": {"object", "result", "cache", "task", "lease", "picture", "bad picture", "anchor"},
        "write": {"object", "result", "cache", "bad picture"},
        "delete": {"object", "cache"},
    },
    "flow": {
        "read": {"object", "result", "cache", "task", "lease", "anchor"},
        "write": {"object", "result", "cache", "task", "lease"},
        "delete": {"object", "cache"},
    },
    "promoter": {
        "read": {"object", "result", "cache", "task", "lease", "picture", "bad picture", "anchor"},
        "write": {"object", "result", "cache", "bad picture", "anchor"},
        "delete": {"object", "cache"},
    },
    "mlflow": {"read": {"artifact"}, "write": {"artifact"}, "delete": {"artifact"}},
    "monitor": {"read": {"pair", "anchor"}, "write": set(), "delete": set()},
}


def administrator(*arguments: str) -> None:
    """Run Ceph's tool on the server that $DP2O_CEPH_S3 started."""
    state = Path(os.environ.get("CEPH_S3_STATE", "/var/tmp/dp2o-ceph-s3"))
    if shutil.which("radosgw-admin") is None or not (state / "ceph.conf").is_file():
        missing(
            "accounts are made with radosgw-admin and the ceph.conf of $CEPH_S3_STATE, and one of them is not there"
        )
    command = ["radosgw-admin", "--conf", str(state / "ceph.conf"), *arguments]
    subprocess.run(command, check=True, capture_output=True, timeout=180)


def client_of(endpoint: str, key: str, secret: str) -> Client:
    config = Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 2, "mode": "standard"})
    names = {"endpoint_url": endpoint, "aws_access_key_id": key, "aws_secret_access_key": secret}
    return boto3.session.Session().client("s3", region_name="us-east-1", config=config, **names)


@pytest.fixture(scope="module")
def keys() -> Iterator[dict[str, tuple[str, str]]]:
    """Key and secret of each role's account."""
    mark = secrets.token_hex(4)
    made = {role: (f"{role}{mark}", secrets.token_hex(16)) for role in ROLES}
    try:
        for role, (key, secret) in made.items():
            named = ("--uid", f"{mark}-{role}", "--display-name", role, "--access-key", key, "--secret-key", secret)
            administrator("user", "create", *named)
        yield made
    finally:
        for role in made:
            administrator("user", "rm", "--uid", f"{mark}-{role}")


@pytest.fixture
def place(bucket: tuple[Client, str], keys: dict[str, tuple[str, str]]) -> str:  # noqa: F811
    """Name of a bucket with the policy and an object of each kind."""
    owner, name = bucket
    mark = keys["stages"][0].removeprefix("stages")
    policy = (REPOSITORY / "k8s/s3/policy.json").read_text()
    policy = policy.replace("arn:aws:s3:::dp2o", f"arn:aws:s3:::{name}").replace(":user/dp2o-", f":user/{mark}-")
    owner.put_bucket_policy(Bucket=name, Policy=json.dumps(json.loads(policy)))
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
def test_a_role_may_do_its_work_and_is_refused_what_is_anothers(
    role: str, place: str, s3: S3, keys: dict[str, tuple[str, str]]
) -> None:
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
    place: str, s3: S3, keys: dict[str, tuple[str, str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
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
