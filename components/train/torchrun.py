"""torchrun whose exit code says why a process failed; its own is always 1, and a launcher decides by exit codes.

`python -m components.train.torchrun …` takes torchrun's arguments.
"""

import sys
from collections.abc import Sequence

from torch.distributed import run
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from components.errors import ExitCode

USER_ERRORS = (ExitCode.BAD_INPUT, ExitCode.REFUSED, ExitCode.CORRUPT_INPUT)
"""Of a process that knows why it failed. The others fail with it, by a connection that broke, and may be seen first."""


def exit_code(codes: Sequence[int]) -> int:
    """Of all by those of the processes that failed, in their order; negative: by a signal, told as shells do."""
    code = next((code for code in codes if code in USER_ERRORS), codes[0])
    return code if code >= 0 else 128 - code


def main() -> None:
    """Run torchrun."""
    try:
        run.main(sys.argv[1:])
    except ChildFailedError as error:
        failures = sorted(error.failures.values(), key=lambda failure: failure.timestamp)
        sys.exit(exit_code([failure.exitcode for failure in failures]))


if __name__ == "__main__":
    main()
