"""Flow runs that Prefect's server says are at work: a second net under the documents that flows leave in the store.

Components know no Prefect, so another process asks: `python -m flows.running`, which is there where flows are.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

from components.errors import ResumeLater

VARIABLE = "PREFECT_API_URL"
SECONDS = 120.0


def running_flows() -> list[str]:
    """Names of runs at work; empty where no server is configured.

    Raises:
        ResumeLater: it is configured, and does not answer.
    """
    if not os.environ.get(VARIABLE):
        return []
    try:
        asked = subprocess.run(
            [sys.executable, "-m", "flows.running"],
            capture_output=True, text=True, timeout=SECONDS, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        if asked.returncode == 0:
            return [str(name) for name in json.loads(asked.stdout.strip().splitlines()[-1])]
        said = (asked.stderr.strip().splitlines() or ["no answer"])[-1]
    except (subprocess.TimeoutExpired, ValueError, IndexError) as error:
        said = str(error)
    raise ResumeLater(
        f"Prefect's server ({VARIABLE}) cannot say which runs are at work: {said}\nRun the same command when it "
        f"answers, or unset {VARIABLE} if no run can be at work"
    )
