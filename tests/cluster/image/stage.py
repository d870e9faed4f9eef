"""Stands in for a stage in tests of launchers: `stage.py WHAT [ARGUMENT …]`."""

import os
import signal
import sys
import time
from pathlib import Path


def main() -> int:
    """Exit code."""
    what, *rest = sys.argv[1:]
    print(f"began {what} on attempt {os.environ.get('ATTEMPT', '?')}", flush=True)
    if what == "exit":
        print("last words", file=sys.stderr, flush=True)
        return int(rest[0])
    if what == "lines":
        for number in range(int(rest[0])):
            print(f"line {number}", flush=True)
            time.sleep(float(rest[1]))
    if what == "memory":
        held = []
        for _ in range(int(rest[0])):
            held.append(bytearray(os.urandom(1 << 20)))
    if what == "sleep":
        time.sleep(float(rest[0]))
    if what == "polite":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
        time.sleep(float(rest[0]))
    if what == "write":
        Path("/workspace/x").write_text("x")
        Path("/tmp/x").write_text("x")
        Path("/dev/shm/x").write_text("x")
        try:
            Path("/app/x").write_text("x")
        except OSError as error:
            print(f"refused: {error}", flush=True)
        print("token", Path("/var/run/secrets/kubernetes.io/serviceaccount/token").exists(), os.getuid(), flush=True)
    if what == "clock":
        print(f"now {time.time()}", flush=True)
    print("done", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
