"""Do no harm: what was only reduced must not be restored far below bicubic enlargement."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from skimage import data

from components.artifacts import paths, tables
from components.artifacts.gate_report import Check
from components.artifacts.shards import encode_png, write_shard
from components.gate.clean import OnClean, bicubic_restorer, clean, clean_set, reduced
from components.gate.gate import judge
from components.judge.images import EvaluationSet
from components.judge.restorers import Models
from components.settings.gate import GateSettings
from components.storage import digests
from tests.gate.test_gate import BENCHMARK, BETTER, LIMITS, evidence

ASKED = LIMITS.model_copy(update={"clean": {"psnr": 1.0, "ssim": 0.02}})
PHOTOS = [f"photo{number // 2}" for number in range(24)]


def on_clean(psnr: float, ssim: float = 0.0, spread: float = 0.0) -> OnClean:
    """The challenger lies by so much over bicubic, on every second photo by `spread` more and on the others less."""
    shifts = [psnr + (spread if number // 2 % 2 else -spread) for number in range(24)]
    bicubic = [{"psnr": 28.0, "ssim": 0.8}] * 24
    return OnClean(
        PHOTOS,
        bicubic,
        [{"psnr": 27.5, "ssim": 0.79}] * 24,
        [{"psnr": 28.0 + shift, "ssim": 0.8 + ssim} for shift in shifts],
    )


def rows(found: OnClean | None, limits: GateSettings = ASKED) -> dict[str, Check]:
    return {check.name: check for check in clean(limits, found)}


def test_at_most_so_much_below_bicubic() -> None:
    good, bad = rows(on_clean(-0.99, -0.019)), rows(on_clean(-1.01, -0.021))
    assert {name: check.verdict for name, check in good.items()} == {"clean psnr": "yes", "clean ssim": "yes"}
    assert {name: check.verdict for name, check in bad.items()} == {"clean psnr": "no", "clean ssim": "no"}
    assert good["clean psnr"].value == pytest.approx(-0.99)
    assert good["clean psnr"].threshold == -1.0
    for figure in ("27.01", "bicubic enlargement 28", "champion 27.5"):
        assert figure in good["clean psnr"].reason


def test_the_mean_counts_and_the_interval_is_shown() -> None:
    check = rows(on_clean(-0.8, spread=1.5))["clean psnr"]
    assert (check.verdict, check.value) == ("yes", pytest.approx(-0.8))
    assert "interval -1." in check.reason


def test_what_was_not_measured_is_refused() -> None:
    assert {check.verdict for check in clean(ASKED, None)} == {"no"}
    found = on_clean(0.0)
    lacking = replace(found, challenger=[*found.challenger[:-1], {"ssim": 0.8}])
    assert {name: check.verdict for name, check in rows(lacking).items()} == {"clean psnr": "no", "clean ssim": "yes"}


def test_the_gate_asks_only_where_the_settings_do() -> None:
    without = {check.name for check in judge(evidence(), BETTER, BENCHMARK, LIMITS)}
    checks = judge(evidence(), BETTER, BENCHMARK, ASKED, on_clean=on_clean(-2.0))
    assert {check.name for check in checks} - without == {"clean psnr", "clean ssim"}
    assert [check.name for check in checks if check.verdict == "no"] == ["clean psnr"]
    assert "clean" not in LIMITS.model_dump()  # reports of settings without it are still answers to the same question


@pytest.fixture
def images(tmp_path: Path) -> EvaluationSet:
    """Two crops of one photo and one of another, with LR images that are none of theirs; and one without HR."""
    rows, members = [], []
    for number, photo in enumerate(["x", "x", "y", "z"]):
        hr = np.ascontiguousarray(data.astronaut()[64 * number : 64 * number + 64, 160:224])
        lr = np.full((16, 16, 3), 50 + number, np.uint8)
        lr_id, has_hr = digests.of_pixels(lr), photo != "z"
        members += [(f"{lr_id}.lr.png", encode_png(lr)), *([(f"{lr_id}.hr.png", encode_png(hr))] if has_hr else [])]
        rows.append(
            {"lr_id": lr_id, "split": "test", "source": photo, "source_name": photo, "crop_x": 0, "crop_y": 0}
            | {"width": 64, "height": 64, "lr_width": 16, "lr_height": 16, "scale": 4, "has_hr": has_hr}
            | {"shard": "00000.tar", "prompt": "", "degradation": ""}
        )
    write_shard(tmp_path / paths.DATASET / "00000.tar", members)
    tables.write_rows(tmp_path / paths.DATASET_ROWS, tables.DATASET, rows)
    return EvaluationSet(tmp_path, "test")


def test_the_set_is_one_hr_a_photo_only_reduced(images: EvaluationSet, tmp_path: Path) -> None:
    found = clean_set(images, tmp_path / "cache")
    assert found is not None
    assert sorted(row["source"] for row in found.rows) == ["x", "y"]
    originals = [image.hr for image in images if image.hr is not None]
    for image in found:
        assert image.hr is not None
        assert any(np.array_equal(image.hr, hr) for hr in originals)
        assert np.array_equal(image.lr, reduced(image.hr, 16, 16))
        assert image.lr_id not in images.photos
    written = [path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.parquet")]
    assert clean_set(images, tmp_path / "cache") is not None
    assert [path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.parquet")] == written != []


def test_without_hr_there_is_no_set(images: EvaluationSet, tmp_path: Path) -> None:
    images.rows = [row for row in images.rows if not row["has_hr"]]
    assert clean_set(images, tmp_path / "cache") is None


def test_bicubic_is_bicubic(images: EvaluationSet) -> None:
    """Against Pillow's enlargement, which differs in its kernel alone."""
    hr = data.astronaut()[:128, 60:188]
    lr = reduced(hr, 32, 32)
    (made,) = bicubic_restorer(4).load(Models())(replace(next(iter(images)), lr=lr, hr=hr))
    assert made.shape == (128, 128, 3)
    assert np.abs(made.astype(int) - reduced(lr, 128, 128)).mean() < 2
