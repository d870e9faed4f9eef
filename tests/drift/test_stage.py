"""What came in against the training set, on real files."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from components.artifacts import tables
from components.artifacts.paths import DRIFT_PAGE, DRIFT_REPORT, INCOMING, INCOMING_ROWS, TRAINED_SHARDS
from components.artifacts.shards import encode_png, write_shard
from components.drift.stage import run_drift
from components.settings import Settings
from components.storage import digests
from components.storage.publish import write_json
from tests.made import write_dataset, write_params

SIDE = 32


def scene(seed: int, blur: float = 0.0) -> NDArray[np.uint8]:
    generator = np.random.default_rng(seed)
    large = generator.integers(0, 256, (24, 24, 3), np.uint8)
    picture = cv2.resize(large, (64, 64), interpolation=cv2.INTER_CUBIC)
    picture = cv2.GaussianBlur(picture, (0, 0), blur) if blur else picture
    return np.rint((picture + generator.normal(0, 3, picture.shape)).clip(0, 255)).astype(np.uint8)


def arrive(root: Path, shard: str, pictures: list[NDArray[np.uint8]]) -> None:
    rows = tables.read_rows(root / INCOMING_ROWS, tables.INCOMING) if (root / INCOMING_ROWS).is_file() else []
    members = []
    for number, picture in enumerate(pictures):
        pixels = digests.of_pixels(picture)
        members.append((f"{pixels}.png", encode_png(picture)))
        texts = {"bucket": "b", "key": f"{shard}/{number}", "version": "", "etag": "e", "modified": "2030-01-01"}
        rows.append({"pixels": pixels, "shard": shard, "width": 64, "height": 64} | texts)
    write_shard(root / INCOMING / shard, members)
    tables.write_rows(root / INCOMING_ROWS, tables.INCOMING, rows)


@pytest.fixture
def project(tmp_path: Path) -> tuple[Settings, Path]:
    """A training set of 40 pictures' crops."""
    settings = write_params(tmp_path, drift={"min_images": 20, "retrain_images": 1000}, prepare={"crops_per_photo": 2})
    write_dataset(tmp_path, ["align"] * 2)
    rows, members = [], []
    (template,) = tables.read_rows(tmp_path / "data/dataset.parquet", tables.DATASET)[:1]
    for number in range(40):
        picture = scene(number)
        for x in (0, 32):
            lr = np.ascontiguousarray(picture[:32, x : x + 32])
            lr_id = digests.of_pixels(lr)
            members.append((f"{lr_id}.lr.png", encode_png(lr)))
            rows.append(template | {"lr_id": lr_id, "source": f"{number:064x}", "source_name": f"{number}.png"})
    write_shard(tmp_path / "data/dataset/00000.tar", members)
    tables.write_rows(tmp_path / "data/dataset.parquet", tables.DATASET, rows)
    return settings, tmp_path


def test_pictures_like_before_wait_and_blurred_ones_are_drift(project: tuple[Settings, Path]) -> None:
    settings, root = project
    assert run_drift(settings, root).decision.text.startswith("nothing is new")
    arrive(root, "a.tar", [scene(100 + number) for number in range(30)])
    calm = run_drift(settings, root)
    assert {row.name: row.verdict for row in calm.comparisons} == dict.fromkeys(
        ["sharpness", "noise", "blockiness", "score"], "same"
    )
    assert (calm.decision.retrain, calm.decision.new, calm.shards) == (False, 30, ("a.tar",))
    write_json(root / TRAINED_SHARDS, {"shards": ["a.tar"], "attempt": None})
    arrive(root, "b.tar", [scene(200 + number, blur=2.0) for number in range(30)])
    changed = run_drift(settings, root)
    verdicts = {row.name: row.verdict for row in changed.comparisons}
    assert verdicts["sharpness"] == "drift"
    assert changed.decision.retrain
    assert changed.shards == ("b.tar",)
    assert json.loads((root / DRIFT_REPORT).read_text())["decision"]["retrain"] is True
    page = (root / DRIFT_PAGE).read_text()
    assert page.count("<svg") == 4
    assert "http://" not in page
    assert "https://" not in page


def test_no_training_set_is_a_reason_not_a_silence(tmp_path: Path) -> None:
    settings = write_params(tmp_path, drift={"min_images": 5})
    arrive(tmp_path, "a.tar", [scene(number) for number in range(6)])
    found = run_drift(settings, tmp_path)
    assert {row.verdict for row in found.comparisons} == {"unknown"}
    assert found.decision.retrain
    assert "there is no training set" in found.decision.text
