"""What a request may ask of the served model, and how many may ask at once."""

import base64
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException

from components.artifacts.shards import encode_png
from components.errors import BadInput
from components.photos.reader import PhotoReader
from components.serving.limits import ServingLimits
from components.serving.pyfunc import ServedUpscaler
from components.serving.requests import Requests


def image(width: int = 10, height: int = 8) -> str:
    return base64.b64encode(encode_png(np.zeros((height, width, 3), np.uint8))).decode()


@pytest.fixture(scope="module")
def requests() -> Iterator[Requests]:
    requests = Requests(ServingLimits(max_rows=3, max_pixels=200, max_bytes=1000))
    yield requests
    requests._reader.close()


def refused(requests: Requests, images: list[Any]) -> str:
    with pytest.raises(MlflowException) as caught:
        requests.pictures(images)
    assert caught.value.get_http_status_code() == 400
    return str(caught.value.message)


def test_pictures_within_the_limits_are_read(requests: Requests) -> None:
    assert [picture.shape for picture in requests.pictures([image(), image(12, 10)])] == [(8, 10, 3), (10, 12, 3)]


def test_rows_pixels_and_bytes_of_a_request_are_bounded(requests: Requests) -> None:
    assert "4 rows are more than max_rows 3" in refused(requests, [image()] * 4)
    assert "the pictures up to row 2 have 240 px together, more than max_pixels 200" in refused(requests, [image()] * 3)
    assert "30×30 pixels are more than max_pixels 200" in refused(requests, [image(30, 30)])
    assert "1050 bytes of pictures are more than max_bytes 1000" in refused(requests, ["A" * 1400])


def test_twenty_thousand_rows_are_refused_before_any_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def pixels(*_: Any) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(PhotoReader, "pixels", pixels)
    model = ServedUpscaler()
    with pytest.raises(MlflowException, match="20000 rows are more than max_rows 16"):
        model.predict(None, pd.DataFrame({"image": [image()] * 20_000}))


def test_a_request_more_than_may_wait_is_told_so() -> None:
    requests = Requests(ServingLimits(concurrency=1, waiting=1))
    inside, leave = threading.Event(), threading.Event()
    done: list[int] = []

    def ask() -> None:
        with requests.entered():
            inside.set()
            leave.wait(20)
            done.append(1)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    threads[0].start()
    inside.wait(20)
    threads[1].start()
    while requests._places.acquire(blocking=False):  # until the second waits
        requests._places.release()
    with pytest.raises(MlflowException, match="1 requests are waiting already") as caught, requests.entered():
        pass
    assert caught.value.get_http_status_code() == 429
    assert done == []
    leave.set()
    for thread in threads:
        thread.join(20)
    assert done == [1, 1]
    with requests.entered():  # the places are free again
        pass


def test_limits_are_the_environment_s_then_the_model_s() -> None:
    config = {"max_pixels": 5000, "device": "cpu"}
    assert ServingLimits.of(config, {}) == ServingLimits(max_pixels=5000)
    variables = {"DP2O_SERVE_MAX_PIXELS": "70", "DP2O_SERVE_MAX_ROWS": "2", "DP2O_SERVE_WAITING": "0"}
    assert ServingLimits.of(config, variables) == ServingLimits(max_pixels=70, max_rows=2, waiting=0)
    for name, value in (("MAX_ROWS", "0"), ("CONCURRENCY", "many"), ("WAITING", "-1")):
        with pytest.raises(BadInput, match=f"DP2O_SERVE_{name}.*a whole number"):
            ServingLimits.of(config, {f"DP2O_SERVE_{name}": value})
