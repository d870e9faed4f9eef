"""Runs of intake that die, and those that have had enough: what the next one does."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from components.intake.listing import SourceObject
from components.intake.look import Look
from components.intake.stage import run_intake
from components.storage.s3 import Client
from tests.services.inbox import Inbox
from tests.services.s3 import bucket, picture, s3_environment  # noqa: F401

pytestmark = pytest.mark.usefixtures("s3_environment")


@pytest.fixture
def inbox(bucket: tuple[Client, str], tmp_path: Path) -> Inbox:  # noqa: F811
    return Inbox(*bucket, tmp_path)


KILLED_BY_A_FILE = """
import os, signal, sys
from pathlib import Path
from components.intake import look
from components.storage.s3 import Client
from components.intake.listing import SourceObject
from components.intake.look import Look
from components.intake.stage import run_intake
from components.settings import load_settings
examine = look.examine
def fall(reader, data, key, side):
    if data.endswith(b"the run's end"):
        os.kill(os.getpid(), signal.SIGKILL)
    return examine(reader, data, key, side)
if __name__ == "__main__":
    look.examine = fall
    root = Path(sys.argv[1])
    run_intake(load_settings(root / "params.yaml"), root)
"""


def test_a_file_that_ends_the_run_ends_two_and_is_set_aside_by_the_third(inbox: Inbox) -> None:
    """Also where nothing of a dead run's disk is left, as of a pod's."""
    for number in range(3):
        inbox.put(f"{number}.png", picture(number))
    inbox.put("1-deadly.png", picture(7) + b"the run's end")
    codes = []
    for number in range(3):
        root = inbox.root / str(number)
        project = Inbox(inbox.client, inbox.name, root)
        (root / "child.py").write_text(KILLED_BY_A_FILE)
        codes.append(
            subprocess.run(
                [sys.executable, root / "child.py", root], check=False, env=os.environ, timeout=600
            ).returncode
        )
    assert codes == [-signal.SIGKILL, -signal.SIGKILL, 0]
    report = json.loads((root / "reports/intake.json").read_text())
    assert report["quarantined"] == {"hostile": 1}
    assert len(report["accepted"]) == 3
    journal = json.loads(inbox.client.get_object(Bucket=inbox.name, Key="quarantine/examining.json")["Body"].read())
    assert journal == {"examining": [], "finished": True, "suspects": [], "condemned": []}
    assert project.run().listed == 4


def test_what_a_dead_run_set_aside_is_not_looked_at_again_and_all_else_is(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        inbox.put(f"{number}-bad.png", b"no picture" + bytes([number]))
    inbox.put("9.png", picture(9))
    downloaded: list[str] = []
    download = Look._download

    def noted(self: Look, found: SourceObject) -> bytes | None:
        downloaded.append(found.key)
        return download(self, found)

    def end(point: str) -> None:
        handled.append(point)
        if handled.count("handled") == 2:
            raise RuntimeError("the node goes away")

    handled: list[str] = []
    monkeypatch.setattr(Look, "_download", noted)
    with pytest.raises(RuntimeError, match="goes away"):
        run_intake(inbox.settings, inbox.root, end)
    downloaded.clear()
    outcome = inbox.run()
    assert sorted(downloaded) == ["in/2-bad.png", "in/9.png"]
    assert (outcome.quarantined, len(outcome.accepted)) == ({"unreadable": 3}, 1)
    downloaded.clear()
    inbox.run(everything=True)  # a backfill looks at all that was set aside
    assert sorted(downloaded) == ["in/0-bad.png", "in/1-bad.png", "in/2-bad.png"]


def test_a_run_s_budgets_leave_the_rest_to_the_next_and_every_run_gets_on(inbox: Inbox) -> None:
    for number in range(3):
        inbox.put(f"{number}.png", picture(number))
    inbox.configure(overlap_hours=0.0, bytes_a_run=1)
    assert [(len(outcome.accepted), outcome.waiting) for outcome in (inbox.run(), inbox.run())] == [(1, 2), (1, 1)]
    inbox.put("3.png", picture(3))
    inbox.configure(overlap_hours=0.0, seconds_a_run=1e-9)
    outcomes = [inbox.run() for _ in range(3)]
    assert [(len(outcome.accepted), outcome.waiting) for outcome in outcomes] == [(1, 1), (1, 0), (0, 0)]
