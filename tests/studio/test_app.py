"""What the page sends and gets, with the application in this process."""

import io
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from components.artifacts.shards import decode_png, encode_png
from components.errors import BadInput
from components.metrics.suite import Suite
from components.photos.limits import Limits
from components.serving.limits import ServingLimits
from components.settings import MixtureSettings, load_settings
from components.studio.app import application
from components.studio.job import Job
from components.studio.restoring import Restorer
from components.studio.workroom import MOST_JOBS, MOST_PHOTOS, MOST_WAITING, Workroom
from components.upscale.request import judge_of
from components.upscale.upscaler import Upscaler
from tests.studio.conftest import PHOTO
from tests.upscale.pictures import camera_exif, file_of

PIXELS, BYTES = 4_000, 30_000
UPLOAD = {"content-type": "application/octet-stream"}


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[[Any], TestClient]]:
    """A client of an application that does its jobs in a way of one's own."""
    rooms = []

    def client(work: Callable[[Job], None]) -> TestClient:
        workroom = Workroom(work, Limits(PIXELS, BYTES, 10.0), tmp_path).__enter__()
        rooms.append(workroom)
        limits = ServingLimits(max_rows=1, max_pixels=PIXELS, max_bytes=BYTES)
        return TestClient(application(workroom, {"model": "m"}, limits, "127.0.0.1"), "http://127.0.0.1:8040")

    yield client
    for room in rooms:
        room.__exit__(None, None, None)


@pytest.fixture
def client(opened: Callable[[Any], TestClient], upscaler: Upscaler, project: Path) -> TestClient:
    score = load_settings(project / "params.yaml").score
    return opened(Restorer(upscaler, lambda: judge_of(score, "cpu")))


def uploaded(client: TestClient, content: bytes | None = None) -> str:
    answer = client.post("/api/photos", content=encode_png(PHOTO) if content is None else content, headers=UPLOAD)
    assert answer.status_code == 200, answer.text
    key: str = answer.json()["id"]
    return key


def finished(client: TestClient, **options: Any) -> dict[str, Any]:
    answer = client.post("/api/jobs", json=options)
    assert answer.status_code == 200, answer.text
    return over(client, answer.json()["id"])


def over(client: TestClient, key: str) -> dict[str, Any]:
    while (job := client.get(f"/api/jobs/{key}").json())["state"] in ("waiting", "running"):
        assert 0.0 <= job["share"] <= 1.0
        time.sleep(0.02)
    return dict(job)


def test_pictures_are_those_of_the_model_and_the_best_comes_first(client: TestClient, upscaler: Upscaler) -> None:
    job = finished(client, photo=uploaded(client), seed=5, seeds=3, strength=0.5)
    assert (job["state"], job["share"], job["seeds"]) == ("done", 1.0, [5, 6, 7])
    rewards = [one["reward"] for one in job["rated"]]
    assert rewards == sorted(rewards, reverse=True)
    assert {one["seed"] for one in job["rated"]} == {5, 6, 7}
    assert set(job["rated"][0]["scores"]) == {"piqe", "lr_consistency"}
    half = upscaler(PHOTO, 6, mixture=MixtureSettings(strength=0.5))
    for address in (f"/api/jobs/{job['id']}/view/6", f"/api/jobs/{job['id']}/result/6.png"):
        assert np.array_equal(decode_png(client.get(address).content), half)
    base = decode_png(client.get(f"/api/jobs/{job['id']}/view/base").content)
    assert np.array_equal(base, upscaler(PHOTO, 5, mixture=MixtureSettings(strength=0.0)))
    assert not np.array_equal(base, half)
    bicubic = Image.fromarray(PHOTO).resize(half.shape[1::-1], Image.Resampling.BICUBIC)
    assert np.array_equal(decode_png(client.get(f"/api/jobs/{job['id']}/view/LR").content), np.asarray(bicubic))
    small = decode_png(client.get(f"/api/jobs/{job['id']}/thumbnail/6").content)
    assert max(small.shape) <= 240


def test_what_the_photo_carried_is_in_the_download(client: TestClient) -> None:
    photo = file_of(PHOTO, "JPEG", exif=camera_exif())
    job = finished(client, photo=uploaded(client, photo))
    taken = Image.open(io.BytesIO(client.get(f"/api/jobs/{job['id']}/result/0.jpg").content))
    assert (taken.format, taken.getexif()[0x010F]) == ("JPEG", "Maker")


@pytest.mark.parametrize(
    ("content", "headers", "status", "said"),
    [
        (b"no picture", UPLOAD, 400, "not a JPEG"),
        (encode_png(np.zeros((100, 100, 3), np.uint8)), UPLOAD, 400, "--max-pixels"),
        (bytes(BYTES + 1), UPLOAD, 413, "--max-pixels"),
        (b"x", {"content-type": "text/plain"}, 415, "application/octet-stream"),
        (b"x", {"content-type": "multipart/form-data"}, 415, "application/octet-stream"),
        (encode_png(PHOTO)[:300], UPLOAD, 400, "cannot be used"),
    ],
)
def test_what_cannot_be_used_is_answered_with_a_reason(
    client: TestClient, content: bytes, headers: dict[str, str], status: int, said: str
) -> None:
    answer = client.post("/api/photos", content=content, headers=headers)
    assert answer.status_code == status
    assert said in answer.json()["message"]


@pytest.mark.parametrize(
    "wrong", [{"seed": -1}, {"seeds": 0}, {"seeds": 17}, {"strength": 3}, {"preference": 2}, {"other": 1}]
)
def test_other_options_are_refused(client: TestClient, wrong: dict[str, Any]) -> None:
    answer = client.post("/api/jobs", json={"photo": uploaded(client), **wrong})
    assert answer.status_code == 400
    assert next(iter(wrong)) in answer.json()["message"]


def test_a_form_of_another_site_is_refused(client: TestClient) -> None:
    assert client.post("/api/jobs", content=b"{}", headers={"content-type": "text/plain"}).status_code == 415
    assert client.post("/api/jobs", json={"photo": "x" * 5000}).status_code == 413
    foreign = client.post("/api/photos", content=encode_png(PHOTO), headers=UPLOAD | {"origin": "http://evil.example"})
    assert foreign.status_code == 403


def test_what_is_not_here_is_404(client: TestClient) -> None:
    job = finished(client, photo=uploaded(client))["id"]
    places = [f"{job}/view/1", f"{job}/view/x", f"{job}/result/1.png", f"{job}/result/0.exe", f"{job}/thumbnail/9", "x"]
    assert [client.get(f"/api/jobs/{place}").status_code for place in places] == [404] * len(places)
    assert client.post("/api/jobs", json={"photo": "unknown"}).status_code == 404
    assert client.get("/page/..%2Fapp.py").status_code == 404
    assert client.get("/docs").status_code == 404


def test_without_metrics_the_pictures_are_there_and_it_says_why(
    opened: Callable[[Any], TestClient], upscaler: Upscaler
) -> None:
    def none() -> Suite:
        raise BadInput("score.nr names no metric")

    client = opened(Restorer(upscaler, none))
    job = finished(client, photo=uploaded(client), seeds=2)
    assert (job["state"], job["rated"], job["seeds"]) == ("done", [], [0, 1])
    assert "score.nr names no metric" in job["note"]


def test_a_job_that_fails_says_so_and_the_next_one_is_done(opened: Callable[[Any], TestClient]) -> None:
    def work(job: Job) -> None:
        if job.options.seed == 1:
            raise RuntimeError("a defect")
        if job.options.seed == 2:
            raise BadInput("take strength 1")

    client = opened(work)
    photo = uploaded(client)
    outcomes = [finished(client, photo=photo, seed=seed) for seed in (1, 2, 3)]
    assert [one["state"] for one in outcomes] == ["failed", "failed", "done"]
    assert "a defect" in outcomes[0]["doing"]
    assert outcomes[1]["doing"] == "take strength 1"


def test_jobs_wait_for_each_other_up_to_a_number_and_can_be_given_up(opened: Callable[[Any], TestClient]) -> None:
    go, begun = threading.Event(), threading.Event()

    def work(job: Job) -> None:
        begun.set()
        while not go.wait(0.01):
            job.check()

    client = opened(work)
    photo = uploaded(client)

    def submit() -> Any:
        return client.post("/api/jobs", json={"photo": photo})

    running = submit().json()["id"]
    assert begun.wait(30)
    waiting = [submit().json()["id"] for _ in range(MOST_WAITING)]
    assert submit().status_code == 429
    assert client.delete(f"/api/jobs/{waiting[0]}").json()["state"] == "cancelled"
    client.delete(f"/api/jobs/{running}")
    assert over(client, running)["state"] == "cancelled"
    go.set()
    assert [over(client, key)["state"] for key in waiting[1:]] == ["done"] * (MOST_WAITING - 1)


def test_old_photos_and_jobs_are_forgotten_with_their_pictures(
    opened: Callable[[Any], TestClient], tmp_path: Path
) -> None:
    client = opened(lambda job: None)
    first = uploaded(client)
    jobs = [finished(client, photo=first)["id"] for _ in range(MOST_JOBS + 2)]
    assert client.get(f"/api/jobs/{jobs[0]}").status_code == 404
    assert client.get(f"/api/jobs/{jobs[-1]}").status_code == 200
    assert len(list(tmp_path.iterdir())) == MOST_JOBS
    for _ in range(MOST_PHOTOS):
        uploaded(client)
    assert client.post("/api/jobs", json={"photo": first}).status_code == 404
