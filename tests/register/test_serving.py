"""`dp2o serve` in a process of its own, asked over HTTP."""

import base64
import json
import shutil
import socket
import struct
import sys
import threading
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest
from mlflow.exceptions import MlflowException
from skimage import data

from components.artifacts import paths
from components.artifacts.shards import decode_png, encode_png
from components.register import stage
from components.runtime.process import resolve_device
from components.serving.pyfunc import ServedUpscaler
from components.settings import MixtureSettings
from components.upscale.upscaler import Tiling, Upscaler
from tests.register.project import make_project, with_base
from tests.services.servers import LOOPBACK, answers, free_port, process

PHOTO = data.astronaut()[:20, 100:130].copy()


def text(content: bytes) -> str:
    return base64.b64encode(content).decode()


GOOD = text(encode_png(PHOTO))
LIMITS = {"MAX_BYTES": 1_500_000, "MAX_ROWS": 4, "SECONDS_A_BODY": 2, "WAITING": 1}
MAX_BODY = 2_000_000 + 4 * 2**16
"""By LIMITS: the bytes in base64, and 64 KiB a row."""


@dataclass(frozen=True)
class Served:
    """A server; `process` has the model."""

    url: str
    upscaler: Upscaler
    process: psutil.Process

    def ask(self, body: bytes, content_type: str = "application/json") -> tuple[int, str]:
        request = urllib.request.Request(f"{self.url}/invocations", body, {"Content-Type": content_type})
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def rows(self, *rows: dict[str, Any]) -> tuple[int, str]:
        return self.ask(json.dumps({"dataframe_records": rows}).encode())


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("served")
    shutil.copy(empty_database, root / "mlflow.db")
    make_project(root)
    settings = with_base(root, reference=True)
    stage.run(settings, root)
    port = free_port()
    command = [sys.executable, "-m", "components.register", "serve", f"{settings.register_.model_name}@candidate"]
    command += ["-p", str(port), "--params", str(root / "params.yaml")]
    url = f"http://{LOOPBACK}:{port}"
    variables = {f"DP2O_SERVE_{name}": str(value) for name, value in LIMITS.items()}
    located = settings.backbone.located(root)
    upscaler = Upscaler.load(root / paths.BEST, located, resolve_device("cpu"), base=root / "base")
    with process(command, root / "serve.log", lambda: answers(f"{url}/ping"), variables) as started:
        (server,) = psutil.Process(started.pid).children()
        yield Served(url, upscaler, server)


def test_the_restored_picture_comes_back(served: Served) -> None:
    status, answer = served.rows({"image": GOOD, "seed": 0}, {"image": GOOD, "seed": 3})
    assert status == 200, answer
    restored = [decode_png(base64.b64decode(row["image"])) for row in json.loads(answer)["predictions"]]
    assert [picture.shape for picture in restored] == [(80, 120, 3)] * 2
    for picture, seed in zip(restored, (0, 3), strict=True):
        np.testing.assert_array_equal(picture, served.upscaler(PHOTO, seed))


def test_seed_and_form_of_the_request_are_free(served: Served) -> None:
    wanted = text(encode_png(served.upscaler(PHOTO, 0)))
    split = {"dataframe_split": {"columns": ["image"], "data": [[GOOD]]}}
    for body, kind in (
        (json.dumps({"inputs": {"image": [GOOD]}}).encode(), "application/json"),
        (json.dumps(split).encode(), "application/json"),
        (f"image\n{GOOD}\n".encode(), "text/csv"),
    ):
        status, answer = served.ask(body, kind)
        assert (status, json.loads(answer)) == (200, {"predictions": [{"image": wanted}]})


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"image": "%%%"}, "image of row 0 is not base64"),
        ({"image": GOOD[:8] + "\n" + GOOD[8:]}, "without line breaks"),
        ({"image": "é"}, "is not base64 (not ASCII)"),
        ({"image": None}, "is not base64 (NoneType instead of text)"),
        ({"image": 5}, "is not base64 (int instead of text): send column `image`"),
        ({"image": text(b"no photo")}, "cannot be used: unreadable"),
        ({"image": text(encode_png(PHOTO)[:200])}, "cannot be used: truncated"),
        ({"image": text(encode_png(np.zeros((2001, 2000, 3), np.uint8)))}, "crop or shrink it, or load the model with"),
        ({"picture": GOOD}, "Model is missing inputs ['image']"),
        ({"image": GOOD, "seed": -1}, "row 0: seed -1 is negative"),
        ({"image": GOOD, "seed": "first"}, "Failed to convert column seed"),
    ],
)
def test_what_cannot_be_used_is_answered_with_400_and_why(served: Served, row: dict[str, Any], why: str) -> None:
    status, answer = served.rows(row)
    assert status == 400
    told = json.loads(answer)
    assert why in told["message"]
    assert "stack_trace" not in told


@pytest.mark.parametrize(
    "params", [{"strength": 0.0}, {"strength": 0.5}, {"strength": 1.5, "power": 1.0}, {"start": 0.5}], ids=str
)
def test_a_mixture_is_asked_for_by_parameters(served: Served, params: dict[str, float]) -> None:
    body = {"dataframe_records": [{"image": GOOD, "seed": 2}], "params": params}
    status, answer = served.ask(json.dumps(body).encode())
    assert status == 200, answer
    restored = decode_png(base64.b64decode(json.loads(answer)["predictions"][0]["image"]))
    np.testing.assert_array_equal(restored, served.upscaler(PHOTO, 2, mixture=MixtureSettings(**params)))


@pytest.mark.parametrize(
    ("params", "why"),
    [
        ({"strength": 3.0}, "params.strength is 3.0"),
        ({"power": float("nan")}, "params.power is nan"),
        ({"start": "late"}, "start"),
    ],
    ids=str,
)
def test_a_mixture_out_of_its_range_is_answered_with_400(served: Served, params: dict[str, Any], why: str) -> None:
    status, answer = served.ask(json.dumps({"dataframe_records": [{"image": GOOD}], "params": params}).encode())
    assert status == 400
    assert why in answer


def bomb(side: int) -> bytes:
    """A PNG of some kB whose pixels would take 3 · side² bytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    packed = zlib.compress(bytes(20_000_000), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def rows(count: int, image: str = GOOD) -> bytes:
    return json.dumps({"dataframe_records": [{"image": image}] * count}).encode()


TOO_MUCH: dict[str, tuple[Callable[[], bytes], str, int, str]] = {
    "body": (lambda: rows(1, "A" * 40_000_000), "application/json", 413, f"longer than {MAX_BODY} bytes"),
    "bytes": (lambda: rows(1, "A" * 2_100_000), "application/json", 400, "more than max_bytes 1500000"),
    "rows": (lambda: rows(5), "application/json", 400, "5 rows are more than max_rows 4"),
    "values": (lambda: rows(20_000, ""), "application/json", 400, "for each row of max_rows 4"),
    "objects": (
        lambda: b'{"dataframe_records": [' + b"{}," * 600_000 + b"{}]}",
        "application/json",
        400,
        "values, more than 4000",
    ),
    "depth": (lambda: b"[" * 3999 + b"]" * 3999, "application/json", 400, "is no JSON"),
    "lines": (lambda: b"image\n" + b"A\n" * 20_000, "text/csv", 400, "for each row of max_rows 4"),
    "no JSON": (lambda: b"\xff" * 2_000_000, "application/json", 400, "the body is no JSON"),
    "pixels": (lambda: rows(1, text(bomb(50_000))), "application/json", 400, "too_large"),
    "parquet": (lambda: b"PAR1", "application/vnd.apache.parquet", 415, "send application/json, or text/csv"),
}


@pytest.mark.parametrize("kind", TOO_MUCH)
def test_what_asks_for_too_much_is_refused_before_it_takes_memory(served: Served, kind: str) -> None:
    make, form, status, why = TOO_MUCH[kind]
    before = most_memory(served.process, anew=True)
    found, answer = served.ask(make(), form)
    assert (found, why in json.loads(answer)["message"]) == (status, True), answer[:300]
    assert len(answer) < 2000
    if before is not None:
        assert (most_memory(served.process) or 0) - before < 16_000_000


def most_memory(process: psutil.Process, anew: bool = False) -> int | None:
    """Largest resident memory, bytes; `anew`: it counts from now. None where the system does not tell."""
    folder = Path(f"/proc/{process.pid}")
    if not (folder / "clear_refs").exists():
        return None
    if anew:
        (folder / "clear_refs").write_text("5")
    (line,) = [line for line in (folder / "status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def test_a_body_of_unknown_length_is_cut_off_where_it_is_too_long(served: Served) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(200):
            yield b"A" * 100_000

    request = urllib.request.Request(f"{served.url}/invocations", pieces(), {"Content-Type": "application/json"})
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=60)
    assert refused.value.code == 413


def test_who_sends_slowly_holds_the_others_up_for_seconds_and_the_next_is_told_to_wait(served: Served) -> None:
    host, _, port = served.url.removeprefix("http://").partition(":")
    head = (
        f"POST /invocations HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: 9000\r\n\r\n"
    )
    with socket.create_connection((host, int(port)), timeout=30) as slow:
        slow.sendall(f"{head}Content-Length: 9000\r\n\r\n{{".encode())
        time.sleep(0.3)
        answered: list[int] = []
        waiting = threading.Thread(target=lambda: answered.append(served.rows({"image": GOOD})[0]))
        waiting.start()
        time.sleep(0.3)
        status, answer = served.rows({"image": GOOD})
        assert (status, "1 requests are waiting already" in answer) == (429, True)
        waiting.join(30)
        assert answered == [200]
        assert slow.recv(4000).startswith(b"HTTP/1.1 408")


def test_of_several_rows_the_bad_one_is_named(served: Served) -> None:
    status, answer = served.rows({"image": GOOD}, {"image": "%"})
    assert status == 400
    assert "image of row 1" in answer


def test_another_body_than_json_is_refused_and_the_server_goes_on(served: Served) -> None:
    assert served.ask(b"{")[0] == 400
    assert served.ask(b"[]")[0] == 400
    assert served.ask(encode_png(PHOTO), "image/png")[0] == 415
    assert served.rows({"image": GOOD})[0] == 200


def test_a_failure_of_the_model_is_not_called_the_caller_s() -> None:
    class Exhausted:
        tiling = Tiling(256, 32, 4_000_000)

        def __call__(self, *arguments: Any, **named: Any) -> None:
            raise RuntimeError("CUDA out of memory")

    model = ServedUpscaler()
    model.upscaler = Exhausted()  # type: ignore[assignment]
    with pytest.raises(MlflowException, match="row 0 may be right, but the model failed: CUDA out of memory") as raised:
        model.predict(None, pd.DataFrame({"image": [GOOD]}))
    assert raised.value.get_http_status_code() == 500
