"""Intake against a real S3 server."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from components.artifacts import tables
from components.artifacts.paths import INCOMING, INCOMING_ROWS, INTAKE_STATE
from components.artifacts.shards import ShardReader
from components.errors import BadInput, ResumeLater
from components.storage.s3 import Client, connect
from tests.services.inbox import Inbox
from tests.services.s3 import ODD_KEYS, bucket, hostile, new_bucket, picture, s3_environment  # noqa: F401

pytestmark = pytest.mark.usefixtures("s3_environment")


@pytest.fixture
def inbox(bucket: tuple[Client, str], tmp_path: Path) -> Inbox:  # noqa: F811
    return Inbox(*bucket, tmp_path)


def files(root: Path) -> dict[str, bytes]:
    """All that a run published, without its report."""
    paths = [root / INTAKE_STATE, root / INCOMING_ROWS, *(root / INCOMING).glob("*")]
    return {path.name: path.read_bytes() for path in paths if path.is_file()}


def test_hostile_objects_are_set_aside_with_their_reason_and_good_ones_come_in(inbox: Inbox) -> None:
    expected = hostile()
    for key, (data, _) in expected.items():
        inbox.put(key, data)
    for number, key in enumerate(ODD_KEYS):
        inbox.put(key, picture(number))
    inbox.put("good.jpg", picture(50, kind="JPEG"))
    inbox.put("wrong-suffix.jpg", picture(51))  # a PNG: read by content, kept
    inbox.put("zz-again.webp", picture(51, kind="WEBP", lossless=True))
    outcome = inbox.run()
    records = inbox.reasons()
    assert {key: record["reason"] for key, record in records.items()} == {
        key: reason for key, (_, reason) in expected.items()
    } | {"zz-again.webp": "duplicate"}
    assert all(records[key]["content"] == data for key, (data, _) in expected.items())
    assert sum(outcome.quarantined.values()) == len(expected) + 1
    assert len(outcome.accepted) == len(ODD_KEYS) + 2
    # nothing is lost: every original is where it was
    assert len(inbox.client.list_objects_v2(Bucket=inbox.name, Prefix="in/")["Contents"]) == outcome.listed
    rows = tables.read_rows(inbox.root / INCOMING_ROWS, tables.INCOMING)
    assert {row["key"].removeprefix("in/") for row in rows} == {*ODD_KEYS, "good.jpg", "wrong-suffix.jpg"}
    # no name that a stranger chose is on the disk
    assert [path.name for path in (inbox.root / INCOMING).iterdir()] == [outcome.shard]
    assert sorted(ShardReader(inbox.root / INCOMING / outcome.shard)) == [f"{row['pixels']}.png" for row in rows]


def test_nothing_is_handled_twice_and_the_same_listing_gives_the_same_files(inbox: Inbox, tmp_path: Path) -> None:
    inbox.put("a.png", picture(1))
    inbox.put("b.txt", b"text")
    inbox.run()
    first = files(inbox.root)
    again = inbox.run()
    assert (again.accepted, again.quarantined, again.listed) == ((), {}, 2)
    assert files(inbox.root) == first
    other = Inbox(inbox.client, inbox.name, tmp_path / "other")
    other.run()
    assert files(other.root) == first
    inbox.put("a.png", picture(2))  # the same key with another content is another picture
    assert len(inbox.run().accepted) == 1
    assert len(list((inbox.root / INCOMING).iterdir())) == 2


def test_what_is_too_young_waits_and_is_not_passed_over(inbox: Inbox) -> None:
    inbox.put("a.png", picture(1))
    inbox.configure(settle_seconds=3600.0)
    outcome = inbox.run()
    assert (outcome.waiting, outcome.accepted) == (1, ())
    assert json.loads((inbox.root / INTAKE_STATE).read_text())[f"s3://{inbox.name}/in/"] == {
        "watermark": None,
        "handled": [],
    }
    inbox.configure()
    assert len(inbox.run().accepted) == 1


def test_runs_are_bounded_and_the_next_one_goes_on(inbox: Inbox) -> None:
    for number in range(5):
        inbox.put(f"{number}.png", picture(number))
    inbox.configure(max_images=2, overlap_hours=0.0)
    counts = [(len(outcome.accepted), outcome.waiting) for outcome in (inbox.run() for _ in range(4))]
    assert counts == [(2, 3), (2, 1), (1, 0), (0, 0)]


def test_dry_run_writes_nothing(inbox: Inbox) -> None:
    inbox.put("a.png", picture(1))
    inbox.put("b.png", b"no picture")
    outcome = inbox.run(dry_run=True)
    assert (len(outcome.accepted), outcome.quarantined) == (1, {"unreadable": 1})
    assert inbox.reasons() == {}
    assert sorted(path.name for path in inbox.root.rglob("*") if path.is_file()) == ["intake.json", "params.yaml"]


def test_a_backfill_looks_at_quarantined_objects_again_but_takes_nothing_twice(inbox: Inbox) -> None:
    inbox.put("a.png", picture(1))
    inbox.put("wide.png", picture(2, 400, 300))
    inbox.configure(max_pixels=10_000)
    assert inbox.run().quarantined == {"too_large": 1}
    state = (inbox.root / INTAKE_STATE).read_bytes()
    inbox.configure()
    assert inbox.run().accepted == ()
    modified = inbox.client.head_object(Bucket=inbox.name, Key="in/wide.png")["LastModified"]
    assert inbox.run(until=modified - timedelta(seconds=60)).accepted == ()
    assert len(inbox.run(since=modified - timedelta(seconds=60)).accepted) == 1
    assert inbox.run(everything=True).accepted == ()
    assert (inbox.root / INTAKE_STATE).read_bytes() == state


def test_an_incomplete_upload_is_not_seen(inbox: Inbox) -> None:
    upload = inbox.client.create_multipart_upload(Bucket=inbox.name, Key="in/a.png")
    part = {"Bucket": inbox.name, "Key": "in/a.png", "UploadId": upload["UploadId"]}
    etag = inbox.client.upload_part(PartNumber=1, Body=picture(1), **part)["ETag"]
    assert inbox.run().listed == 0
    inbox.client.complete_multipart_upload(MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]}, **part)
    assert len(inbox.run().accepted) == 1


def test_versions_are_objects_of_their_own_and_deleted_keys_are_left_alone(tmp_path: Path) -> None:
    for client, name in new_bucket(versioned=True):
        inbox = Inbox(client, name, tmp_path)
        inbox.put("a.png", picture(1))
        inbox.put("a.png", picture(2))
        inbox.put("b.png", picture(3))
        client.delete_object(Bucket=name, Key="in/b.png")
        outcome = inbox.run()
        assert (outcome.listed, len(outcome.accepted)) == (2, 2)
        rows = tables.read_rows(tmp_path / INCOMING_ROWS, tables.INCOMING)
        assert len({row["version"] for row in rows}) == 2
        inbox.put("a.png", picture(2))  # same key and content, another version
        assert inbox.run().quarantined == {"duplicate": 1}


def test_errors_say_what_to_do(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    inbox.configure(source="s3://no-such-bucket-dp2o/in/")
    with pytest.raises(BadInput, match="NoSuchBucket"):
        inbox.run()
    with pytest.raises(BadInput, match="lies within"):
        inbox.configure(quarantine=f"s3://{inbox.name}/in/quarantine/")
    inbox.configure(attempts=2)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(ResumeLater, match="run the same command again"):
        inbox.run()
    monkeypatch.undo()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    inbox.configure()
    with pytest.raises(BadInput, match="credentials"):
        inbox.run()


CHILD = """
import os, signal, sys
from pathlib import Path
from components.intake.stage import run_intake
from components.settings import load_settings
root, fatal = Path(sys.argv[1]), sys.argv[2]
def failpoint(point):
    if point == fatal:
        os.kill(os.getpid(), signal.SIGKILL)
if __name__ == "__main__":
    run_intake(load_settings(root / "params.yaml"), root, failpoint=failpoint)
"""


@pytest.mark.parametrize("point", ["examined", "shard published", "origins recorded", "watermark written"])
def test_killed_at_any_point_the_next_run_ends_as_if_nothing_had_happened(inbox: Inbox, point: str) -> None:
    for number in range(3):
        inbox.put(f"{number}.png", picture(number))
    inbox.put("bad.png", b"bad")
    calm = Inbox(inbox.client, inbox.name, inbox.root / "calm")
    calm.run()
    script = inbox.root / "child.py"
    script.write_text(CHILD)
    killed = subprocess.run([sys.executable, script, inbox.root, point], check=False, env=os.environ, timeout=600)
    assert killed.returncode == -signal.SIGKILL
    inbox.run()
    assert files(inbox.root) == files(calm.root)
    assert list((inbox.root / "cache/intake").iterdir()) == []
    assert len(inbox.reasons()) == 1


@pytest.fixture(scope="module")
def ten_thousand(s3_environment: None) -> Iterator[tuple[Client, str]]:  # noqa: F811
    for client, name in new_bucket():
        put = partial(client.put_object, Bucket=name, Body=picture(0))
        with ThreadPoolExecutor(8) as pool:
            for done in [pool.submit(put, Key=f"in/{number:06d}.png") for number in range(10_000)]:
                done.result()
        yield client, name


@pytest.mark.slow
def test_ten_thousand_objects_are_listed_within_seconds_and_little_memory(
    ten_thousand: tuple[Client, str], tmp_path: Path
) -> None:
    inbox = Inbox(*ten_thousand, tmp_path)
    inbox.configure(settle_seconds=3_600_000.0, overlap_hours=1000.0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.monotonic()
    outcome = inbox.run()
    seconds = time.monotonic() - started
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"10,000 objects listed in {seconds:.1f} s, peak memory grew by {grown:.0f} MiB")
    assert (outcome.listed, outcome.waiting) == (10_000, 10_000)
    assert seconds <= 30
    assert grown < 60


def test_the_settings_of_the_client_are_those_of_the_block() -> None:
    config = connect(attempts=3, timeout=7.0).meta.config
    assert config.retries["total_max_attempts"] == 3
    assert (config.connect_timeout, config.read_timeout) == (7.0, 7.0)
    assert np.isfinite(config.read_timeout)
