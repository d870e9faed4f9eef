"""An S3 account of each role on a real server, and a bucket with the policy k8s/s3/policy.json.

Accounts are made with Ceph's own tool; the policy is the same everywhere.
"""

import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
from botocore.config import Config

from components.storage.s3 import Client
from tests.made import REPOSITORY
from tests.services.servers import missing

ROLES = ("stages", "flow", "promoter", "mlflow", "monitor", "cleaner")
Keys = dict[str, tuple[str, str]]
"""Key and secret by role."""


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


@contextmanager
def accounts() -> Iterator[Keys]:
    """Key and secret of each role's account; they go afterwards."""
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


def put_policy(owner: Client, name: str, keys: Keys) -> None:
    """Give the bucket `name` the policy, for these accounts."""
    mark = keys["stages"][0].removeprefix("stages")
    policy = (REPOSITORY / "k8s/s3/policy.json").read_text()
    policy = policy.replace("arn:aws:s3:::dp2o", f"arn:aws:s3:::{name}").replace(":user/dp2o-", f":user/{mark}-")
    owner.put_bucket_policy(Bucket=name, Policy=json.dumps(json.loads(policy)))
