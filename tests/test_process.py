"""What libraries say of themselves on a run that goes well stays unsaid."""

import os
import subprocess
import sys
import textwrap

from tests.made import REPOSITORY

SAID = """
    import logging
    from components.runtime.process import start_logging

    start_logging()
    import pyiqa.utils.logger
    import mlflow

    logging.getLogger("bitsandbytes.backends.cpu.ops").warning("gemm_4bit_forward: pip install kernels")
    pyiqa.utils.logger.get_root_logger().info("Metric [STLPIPS] is created.")
    logging.getLogger("mlflow.pyfunc").info("Validating input example against model signature")
    pyiqa.utils.logger.get_root_logger().warning("weights of another version")
    logging.getLogger("mlflow.pyfunc").warning("no signature")
    logging.getLogger("dp2o.train").info("step 1")
"""


def test_libraries_are_heard_when_they_warn() -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SAID)],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    heard = ("weights of another version", "no signature", "dp2o.train step 1")
    lines = done.stderr.splitlines()
    assert [any(text in line for text in heard) for line in lines] == [True] * len(lines), done.stderr
    assert [sum(text in line for line in lines) for text in heard] == [1, 1, 1], done.stderr
