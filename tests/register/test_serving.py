"""`mlflow models serve` in a process of its own, asked over HTTP."""

import base64
import json
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from skimage import data

from components.artifacts import paths
from components.artifacts.shards import decode_png, encode_png
from components.process import resolve_device
from components.register import stage
from components.registry.tracking import tracking_uri
from components.serving.pyfunc import ServedUpscaler
from components.upscale.upscaler import Tiling, Upscaler
from tests.register.project import make_project
from tests.services.servers import LOOPBACK, answers, free_port, process

PHOTO = data.astronaut()[:20, 100:130].copy()


def text(content: bytes) -> str:
    return base64.b64encode(content).decode()


GOOD = text(encode_png(PHOTO))


@dataclass(frozen=True)
class Served:
    url: str
    upscaler: Upscaler

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
    settings = make_project(root)
    stage.run(settings, root)
    port = free_port()
    model = f"models:/{settings.register_.model_name}@candidate"
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", model, "--env-manager", "local"]
    command += ["-h", LOOPBACK, "-p", str(port), "-w", "1"]
    url = f"http://{LOOPBACK}:{port}"
    variables = {"MLFLOW_TRACKING_URI": tracking_uri(settings.register_, root)}
    upscaler = Upscaler.load(root / paths.BEST, settings.backbone, resolve_device("cpu"))
    with process(command, root / "serve.log", lambda: answers(f"{url}/ping"), variables):
        yield Served(url, upscaler)


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


def test_of_several_rows_the_bad_one_is_named(served: Served) -> None:
    status, answer = served.rows({"image": GOOD}, {"image": "%"})
    assert status == 400
    assert "image of row 1" in answer


def test_another_body_than_json_is_refused_and_the_server_goes_on(served: Served) -> None:
    assert served.ask(b"{")[0] == 400
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
