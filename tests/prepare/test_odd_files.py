"""Files that a folder of photos may hold and that once ended the run, or filled the memory."""

import io
import resource
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from components.artifacts import tables
from components.errors import BadInput
from components.photos.reader import PhotoReader
from components.prepare.stage import run
from components.settings import Settings, load_settings
from tests.photos.test_tiff import directories

PARAMS = Path(__file__).parents[2] / "params.yaml"


@pytest.fixture
def settings() -> Settings:
    settings = load_settings(PARAMS)
    values = {"sources": [Path("photos")], "crop": 32, "crops_per_photo": 1, "min_side": 20, "max_bytes": 50_000_000}
    evaluate = settings.evaluate.model_copy(update={"controls": []})  # of five photos one is left for validation
    return settings.model_copy(update={"prepare": settings.prepare.model_copy(update=values), "evaluate": evaluate})


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(4):
        noise = np.random.default_rng(seed).integers(0, 256, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{seed}.png")
    return folder


def _quarantine(root: Path) -> dict[str, str]:
    rows = tables.read_rows(root / "data/quarantine.parquet", tables.QUARANTINE)
    return {row["file"]: row["reason"] for row in rows}


def _odd_exif() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.new("RGB", (50, 40), (9, 99, 200)).save(buffer, "JPEG", exif=exif)
    return buffer.getvalue().replace(b"\x01\x12\x00\x03", b"\x01\x12\x00\x0c")


def test_odd_files_are_used_or_set_aside_and_the_run_goes_on(photos: Path, settings: Settings) -> None:
    (photos / "second directory.tif").write_bytes(directories(1, entries=0) + bytes(40_000))
    (photos / "odd exif.jpg").write_bytes(_odd_exif())
    (photos / "directories.tif").write_bytes(directories(100_000))
    buffer = io.BytesIO()
    Image.open(photos / "0.png").save(buffer, "JPEG")
    (photos / "cut.jpg").write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 3] + b"\xff\xd9")
    (photos / "empty.png").write_bytes(b"")
    with (photos / "three gibibytes.jpg").open("wb") as file:
        file.truncate(3 * 2**30)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run(settings, photos.parent)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < 200  # MiB
    assert _quarantine(photos.parent) == {
        "second directory.tif": "too_small",  # 40 x 24 px: read, and below one crop
        "directories.tif": "multiple_frames",
        "cut.jpg": "truncated",
        "empty.png": "empty",
        "three gibibytes.jpg": "too_large",
    }
    rows = tables.read_rows(photos.parent / "data/dataset.parquet", tables.DATASET)
    assert {row["source_name"] for row in rows} == {"odd exif.jpg", *(f"{seed}.png" for seed in range(4))}


def test_a_photo_that_changes_while_it_is_used_stops_the_run(
    photos: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = PhotoReader.digest

    def change(self: PhotoReader, data: bytes, name: str = "", min_side: int = 1) -> str:
        if name == "2.png":
            (photos / name).write_bytes((photos / "1.png").read_bytes())
        return digest(self, data, name, min_side)

    monkeypatch.setattr(PhotoReader, "digest", change)
    with pytest.raises(BadInput, match=r"2\.png changed while it was used: run again"):
        run(settings, photos.parent)
    assert not (photos.parent / "data/dataset").exists()
