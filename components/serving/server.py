"""MLflow's scoring server on a model that was checked, from a private folder made of what is installed here."""

import signal
import subprocess
import sys
from types import FrameType
from typing import Any

from components.serving import package
from components.serving.package import Package
from components.serving.private import private_folder


def serve(model: Package, host: str, port: int, workers: int, **overrides: Any) -> int:
    """Serve until the server ends, or this process is told to; the server's exit code.

    Args:
        overrides: of the stored settings; see `ServedConfig`.
    """
    folder = private_folder() / "model"
    package.write(folder, Package(model.backbone, model.config | overrides, model.created))
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(folder), "--env-manager", "local"]
    server = subprocess.Popen([*command, "-h", host, "-p", str(port), "-w", str(workers)])

    def end(number: int, frame: FrameType | None) -> None:
        server.send_signal(signal.SIGTERM)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        code = server.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0 if code == -signal.SIGTERM else code
