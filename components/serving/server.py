"""MLflow's scoring app on a model that was checked, from a private folder made of what is installed here."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from components.serving import package
from components.serving.package import Package
from components.serving.private import private_folder
from components.settings.families import is_own

APP, FOLDER = "components.serving.app:served", "DP2O_SERVED_MODEL"
FAMILY = "DP2O_SERVED_FAMILY"
"""A family of the user's own that this process has imported, and the server is to import as well."""
TIMEOUT, LONGEST = "MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT", "600"
"""MLflow gives up an answer after a minute if nothing is said; a large picture takes longer on a CPU."""


def serve(model: Package, host: str, port: int, workers: int, **overrides: Any) -> int:
    """Serve until the server ends, or this process is told to; the server's exit code.

    Args:
        overrides: of the stored settings; see `ServedConfig`.
    """
    folder = private_folder() / "model"
    package.write(folder, Package(model.backbone, model.config | overrides, model.created))
    command, variables = started(folder, host, port, workers)
    server = subprocess.Popen(command, env=os.environ | variables | _own_family(model))

    def end(number: int, frame: FrameType | None) -> None:
        server.send_signal(signal.SIGTERM)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        code = server.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0 if code == -signal.SIGTERM else code


def _own_family(model: Package) -> dict[str, str]:
    """Variables that let the server import what this process did, because params.yaml names it."""
    family = model.config.get("backbone", {}).get("family")
    if not is_own(family) or str(family).partition(":")[0] not in sys.modules:
        return {}
    return {FAMILY: str(family), "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def started(folder: Path, host: str, port: int, workers: int) -> tuple[list[str], dict[str, str]]:
    """Command and variables that serve the model in `folder`, which is believed."""
    command = [sys.executable, "-m", "uvicorn", "--factory", APP, "--host", host, "--port", str(port)]
    return [*command, "--workers", str(workers)], {FOLDER: str(folder), TIMEOUT: os.environ.get(TIMEOUT, LONGEST)}
