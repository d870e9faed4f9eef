"""`--dry-run`: what would be done is what is then done, and nothing is written."""

import json
from pathlib import Path

import pytest
import torch

from components.settings import TinyFlowSettings
from components.upscale.forecast import Forecast
from components.upscale.jobs import NAME, find, plan
from components.upscale.many import Restoring
from components.upscale.request import Request
from components.upscale.size import Size
from components.upscale.upscaler import Tiling, Upscaler
from tests.upscale.pictures import file_of, noise


@pytest.fixture
def upscaler(model_folder: Path) -> Upscaler:
    settings = TinyFlowSettings(family="tiny_flow", path=model_folder, steps=2, colour_fix="none")
    return Upscaler.load(model_folder, settings, torch.device("cpu"), Tiling(tile=16, overlap=8, max_pixels=2000))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, picture in {"a": noise(8, 8), "b": noise(24, 40), "huge": noise(50, 50)}.items():
        (folder / f"{name}.png").write_bytes(file_of(picture, "PNG"))
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


MODELS_OWN = Size()


def foretold_and_done(upscaler: Upscaler, photos: Path, size: Size = MODELS_OWN) -> tuple[Forecast, dict[str, object]]:
    found, failed = find([photos], None)
    jobs = plan(found, None, NAME, upscaler.backbone.scale, 0)
    before = sorted(photos.parent.rglob("*"))
    forecast = Restoring(Request(upscaler, range(1)), size).forecast(jobs, failed)
    assert sorted(photos.parent.rglob("*")) == before
    return forecast, Restoring(Request(upscaler, range(1)), size).run(jobs, failed).as_json()


def test_what_is_foretold_is_done(upscaler: Upscaler, photos: Path) -> None:
    forecast, done = foretold_and_done(upscaler, photos)
    assert [(one.output, one.result_width, one.result_height) for one in forecast.open] == [
        (one["output"], one["width"], one["height"])
        for one in done["restored"]  # type: ignore[attr-defined]
    ]
    assert [one.tiles for one in forecast.open] == [1, 2 * 4]
    assert {one.name for one in forecast.failed} == {one["name"] for one in done["failed"]}  # type: ignore[attr-defined]
    assert len(forecast.failed) == 2
    assert "raise --max-pixels" in forecast.as_text()
    assert forecast.memory_mb > forecast.pictures_mb
    json.dumps(forecast.as_json())

    again, _ = foretold_and_done(upscaler, photos)
    assert (again.open, again.seconds, again.memory_mb) == ([], None, None)
    assert again.skipped == [one.output for one in forecast.open]


def test_a_size_that_cannot_be_made_is_told_before(upscaler: Upscaler, photos: Path) -> None:
    forecast, _ = foretold_and_done(upscaler, photos, Size(width=100))
    assert "more than the model's factor" in " ".join(one.reason for one in forecast.failed if "a.png" in one.name)
    assert [Path(one.input).name for one in forecast.open] == ["b.png"]


def test_tiles_are_those_of_the_restoration(upscaler: Upscaler, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    whole = Upscaler._tile
    monkeypatch.setattr(Upscaler, "_tile", lambda self, lr, *rest: made.append(lr.shape[:2]) or whole(self, lr, *rest))
    found, _ = find([photos / "b.png"], None)
    jobs = plan(found, None, NAME, upscaler.backbone.scale, 0)
    restoring = Restoring(Request(upscaler, range(1)), Size())
    (one,) = restoring.forecast(jobs).open
    tried, made[:] = set(made), []
    restoring.run(jobs)
    assert one.tiles == len(made)
    assert tried == {(16, 16)}
