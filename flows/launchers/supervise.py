"""Runs one command and writes down how it ended, so that this is known even if the flow that asked died meanwhile.

`python -I supervise.py FOLDER COMMAND …`. FOLDER/lock is held, by this process and by the command's, for as long as one
of them lives: a second supervisor of the same folder leaves without doing anything, so nothing ever runs twice. The
standard library alone is imported: it must be there at once.

In FOLDER: `group` (of the processes; written before the command starts), `exit` (its exit code; 128 + signal if one
killed it).
"""

import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

LOCK, GROUP, EXIT = "lock", "group", "exit"
ATTEMPTS, PAUSE = 100, 0.02
"""Others take the lock for an instant to see whether it is held: two seconds of trying cannot be one of them."""


def take(lock: int) -> bool:
    """Whether the lock could be had."""
    for _ in range(ATTEMPTS):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(PAUSE)
        else:
            return True
    return False


def write(path: Path, text: str) -> None:
    """Whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text)
    temporary.replace(path)


def main() -> int:
    """0 if another supervisor has or had it; does not return otherwise."""
    folder, command = Path(sys.argv[1]), sys.argv[2:]
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    if not take(lock) or (folder / GROUP).exists():
        return 0
    write(folder / GROUP, str(os.getpgrp()))
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: asked.append(number))
    child = subprocess.Popen(command, pass_fds=(lock,), stdin=subprocess.DEVNULL)
    # like a container's first process, the command alone is asked to stop: what it started is its own business
    signal.signal(signal.SIGTERM, lambda number, _frame: child.send_signal(number))
    if asked:
        child.send_signal(signal.SIGTERM)
    code = child.wait()
    code = code if code >= 0 else 128 - code
    write(folder / EXIT, str(code))
    os.killpg(0, signal.SIGKILL)  # as in a container, what the command left behind ends with it, and so do we
    return code


if __name__ == "__main__":
    sys.exit(main())
