"""Memory of a served model under requests that ask for too much: `python -m benchmarks.serving`.

The same requests go to `dp2o serve` and to MLflow's own server, which knows the model's limits alone. Linux counts the
peak of the process that has the model.
"""

import argparse
import base64
import json
import os
import struct
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from socket import socket

import numpy as np
import psutil

from components.artifacts.shards import encode_png
from components.serving import package
from components.serving.package import Package
from components.serving.pyfunc import model_config
from components.serving.server import started
from components.settings import BACKBONE

WEIGHTS = Path(__file__).parents[1] / "components/backbones/weights/tiny_flow"
HOST, MIB = "127.0.0.1", 2**20
STARTS_WITHIN, ANSWERS_WITHIN = 900.0, 900.0


@dataclass(frozen=True)
class Cost:
    """What a request cost.

    Attributes:
        status: of the answer; 0: there was none.
        seconds: until the answer.
        mib: of memory at the peak, above what the server had before.
        answered: bytes of the answer.
    """

    status: int
    seconds: float
    mib: float
    answered: int


def rows(*images: str) -> bytes:
    """A body with a row for each image."""
    return json.dumps({"dataframe_records": [{"image": image} for image in images]}).encode()


def picture(side: int) -> str:
    """A PNG of noise in base64."""
    noise = np.random.default_rng(1).integers(0, 256, (side, side, 3), np.uint8)
    return base64.b64encode(encode_png(noise)).decode()


def bomb(side: int) -> str:
    """A PNG of some kB in base64 whose pixels would take 3 · side² bytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(50_000_000), 9)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + content).decode()


BODIES: dict[str, Callable[[], bytes]] = {
    "one picture of 64 px": lambda: rows(picture(64)),
    "a body of 200 MiB": lambda: rows("A" * (200 * MIB)),
    "20,000 rows of 8 px": lambda: rows(*[picture(8)] * 20_000),
    "15 MB of empty rows": lambda: b'{"dataframe_records": [' + b"{}," * 5_000_000 + b"{}]}",
    "80 MB of base64 that is no picture": lambda: rows("A" * 80_000_000),
    "80 MB that are no JSON": lambda: b"\xff" * 80_000_000,
    "a bomb of 50,000 x 50,000 px": lambda: rows(bomb(50_000)),
}


@contextmanager
def serving(folder: Path, by_mlflow: bool) -> Iterator[tuple[str, psutil.Process]]:
    """URL and process of a server."""
    with socket() as probe:
        probe.bind((HOST, 0))
        port = int(probe.getsockname()[1])
    command, variables = started(folder, HOST, port, 1)
    if by_mlflow:
        command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(folder), "--env-manager", "local"]
        command += ["-h", HOST, "-p", str(port), "-w", "1"]
    quiet = subprocess.DEVNULL
    server = subprocess.Popen(command, env=os.environ | variables, stdout=quiet, stderr=quiet, start_new_session=True)
    try:
        until = time.monotonic() + STARTS_WITHIN
        while asked(f"http://{HOST}:{port}/ping", None)[0] != 200:
            if server.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"{' '.join(command)} does not serve")
            time.sleep(0.5)
        yield f"http://{HOST}:{port}/invocations", largest(psutil.Process(server.pid))
    finally:
        for process in [*psutil.Process(server.pid).children(recursive=True), server]:
            process.kill()
        server.wait()


def largest(process: psutil.Process) -> psutil.Process:
    """Of a process and what it started, that with the most memory: it has the model."""
    return max([process, *process.children(recursive=True)], key=lambda one: one.memory_info().rss)


def asked(url: str, body: bytes | None) -> tuple[int, bytes]:
    """Status and answer; 0 where there is none."""
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=ANSWERS_WITHIN) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except OSError:
        return 0, b""


def costs(folder: Path, by_mlflow: bool, names: Iterable[str]) -> Iterator[tuple[str, Cost]]:
    """Of each request, one after the other, above what the server had after a good one."""
    with serving(folder, by_mlflow) as (url, process):
        asked(url, rows(picture(8)))  # what is loaded with the first picture is no cost of the others
        before = process.memory_info().rss
        for name in names:
            body = BODIES[name]()
            Path(f"/proc/{process.pid}/clear_refs").write_text("5")  # the peak counts from now
            began = time.perf_counter()
            status, answer = asked(url, body)
            seconds = time.perf_counter() - began
            peak = most_memory(process)
            yield name, Cost(status, round(seconds, 2), round(max(0, peak - before) / MIB, 1), len(answer))


def most_memory(process: psutil.Process) -> int:
    """Largest resident memory, bytes, as Linux counts it."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def main() -> None:
    """Print a line for each request and server."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=[*BODIES], metavar="BODY", help="of these requests")
    parser.add_argument("--server", choices=["dp2o", "mlflow"], help="of one server alone")
    parser.add_argument("--json", type=Path, help="write the figures there")
    arguments = parser.parse_args()
    settings = BACKBONE.validate_python({"family": "tiny_flow", "path": WEIGHTS, "steps": 2, "colour_fix": "none"})
    found: dict[str, dict[str, object]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "model"
        package.write(folder, Package(WEIGHTS, model_config(settings) | {"device": "cpu"}))
        for server in [arguments.server] if arguments.server else ["dp2o", "mlflow"]:
            for name, of in costs(folder, server == "mlflow", arguments.only or BODIES):
                found.setdefault(name, {})[server] = asdict(of)
                print(
                    f"{name}, {server}: {of.status} after {of.seconds} s, {of.mib} MiB more, {of.answered} bytes back",
                    flush=True,
                )
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
