"""Runs a command and writes what it cost: `python -m benchmarks.child OUT.json COMMAND …`.

A process of its own, and one that imports next to nothing: Linux counts a parent's memory at the fork towards the
child's peak, so a parent that holds torch would hide a small stage's.
"""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path


def main() -> int:
    """Exit code of the command."""
    out, command = Path(sys.argv[1]), sys.argv[2:]
    began = time.perf_counter()
    code = subprocess.run(command, check=False).returncode
    wall = time.perf_counter() - began
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    cost = {"wall": wall, "cpu": usage.ru_utime + usage.ru_stime, "peak_mb": usage.ru_maxrss / 1024}
    out.write_text(json.dumps(cost))
    return code


if __name__ == "__main__":
    sys.exit(main())
