"""The stage on small folders: what it publishes, what it sets aside, and that it always publishes the same."""

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from components.artifacts import tables
from components.artifacts.shards import Shard, ShardFolder
from components.errors import BadInput
from components.photos.degradation import crop_generator, degrade
from components.prepare.stage import run
from components.settings import PromptSettings, Settings, load_settings
from components.settings.degradation import DegradationSettings
from components.storage import digests

PARAMS = Path(__file__).parents[2] / "params.yaml"


def _settings(**changes: Any) -> Settings:
    settings = load_settings(PARAMS)
    values: dict[str, Any] = {
        "sources": [Path("photos")],
        "align_sources": [],
        "lr_sources": [],
        "crop": 32,
        "scale": 4,
        "crops_per_photo": 4,
        "min_side": 32,
        "lrs_per_shard": 5,
        "degradation": DegradationSettings(),
    }
    return settings.model_copy(update={"prepare": settings.prepare.model_copy(update=values | changes)})


def _photo(path: Path, seed: int, width: int = 100, height: int = 70) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for seed in range(6):
        _photo(tmp_path / f"photos/{seed}.png", seed)
    return tmp_path


def _rows(root: Path) -> list[tables.Row]:
    return tables.read_rows(root / "data/dataset.parquet", tables.DATASET)


def _quarantine(root: Path) -> dict[str, str]:
    rows = tables.read_rows(root / "data/quarantine.parquet", tables.QUARANTINE)
    return {row["file"]: row["reason"] for row in rows}


def _published(root: Path) -> dict[str, str]:
    files = sorted(path for path in (root / "data").rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_pairs_are_what_the_rows_say(root: Path) -> None:
    settings = _settings()
    run(settings, root)
    rows = _rows(root)
    assert len(rows) == 6 * 4
    shards = ShardFolder(root / "data/dataset")
    for row in rows:
        lr = shards[row["shard"]].image(f"{row['lr_id']}.lr.png")
        hr = shards[row["shard"]].image(f"{row['lr_id']}.hr.png")
        photo = np.asarray(Image.open(root / "photos" / row["source_name"]))
        x, y = row["crop_x"], row["crop_y"]
        np.testing.assert_array_equal(hr, photo[y : y + 32, x : x + 32])
        rng = crop_generator(settings.prepare.seed, row["source"], x, y)
        expected, drawn = degrade(hr, rng, settings.prepare.degradation, 4)
        np.testing.assert_array_equal(lr, expected)
        assert json.loads(row["degradation"]) == drawn
        assert row["lr_id"] == digests.of_pixels(lr)
        assert row["source"] == digests.of_file(root / "photos" / row["source_name"])
        assert (row["width"], row["height"], row["lr_width"], row["lr_height"], row["scale"]) == (32, 32, 8, 8, 4)
        assert row["has_hr"]
        assert row["prompt"] == ""


def test_shards_hold_as_many_lr_images_as_set(root: Path) -> None:
    run(_settings(), root)
    counts: dict[str, int] = {}
    for row in _rows(root):
        counts[row["shard"]] = counts.get(row["shard"], 0) + 1
    assert counts == {"00000.tar": 5, "00001.tar": 5, "00002.tar": 5, "00003.tar": 5, "00004.tar": 4}
    assert sorted(path.name for path in (root / "data/dataset").iterdir()) == sorted(counts)


def test_two_runs_publish_the_same_bytes(root: Path) -> None:
    run(_settings(), root)
    first = _published(root)
    run(_settings(), root)
    assert _published(root) == first


def test_an_lr_image_does_not_depend_on_the_other_photos(root: Path) -> None:
    run(_settings(), root)
    of_all = {(row["source"], row["crop_x"], row["crop_y"]): row["lr_id"] for row in _rows(root)}
    for name in ("0.png", "3.png"):
        (root / "photos" / name).unlink()
    (root / "photos/5.png").rename(root / "photos/a name that sorts elsewhere.png")
    run(_settings(), root)
    of_some = {(row["source"], row["crop_x"], row["crop_y"]): row["lr_id"] for row in _rows(root)}
    assert len(of_some) == 4 * 4
    assert of_some.items() <= of_all.items()


def test_the_seed_changes_the_lr_images(root: Path) -> None:
    run(_settings(), root)
    first = {row["lr_id"] for row in _rows(root)}
    run(_settings(seed=1), root)
    assert not first & {row["lr_id"] for row in _rows(root)}


def test_no_photo_is_in_two_splits(root: Path) -> None:
    run(_settings(), root)
    splits: dict[str, set[str]] = {}
    for row in _rows(root):
        splits.setdefault(row["source"], set()).add(row["split"])
    assert all(len(found) == 1 for found in splits.values())
    assert {name for found in splits.values() for name in found} == {"align", "validation", "test"}


def test_bad_files_go_to_quarantine_and_the_run_goes_on(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    photos = root / "photos"
    whole = (photos / "0.png").read_bytes()
    (photos / "truncated.png").write_bytes(whole[: len(whole) // 2])
    (photos / "text.jpg").write_text("not a photo")
    (photos / "camera.heic").write_bytes(b"\0\0\0\x18ftypheic")
    _photo(photos / "small.png", 9, 31, 90)
    Image.open(photos / "1.png").save(photos / "same as 1.webp", lossless=True)
    frames = [Image.new("RGB", (40, 40), (i, 0, 0)) for i in (0, 90)]
    frames[0].save(photos / "moving.gif", save_all=True, append_images=frames[1:])
    (photos / "ATTRIBUTION.csv").write_text("file\n")  # no photo by its suffix: not set aside, not read
    with caplog.at_level(logging.INFO, "dp2o.prepare"):
        run(_settings(), root)
    assert _quarantine(root) == {
        "truncated.png": "truncated",
        "text.jpg": "unreadable",
        "camera.heic": "unreadable",
        "small.png": "too_small",
        "same as 1.webp": "duplicate",
        "moving.gif": "multiple_frames",
    }
    assert {row["source_name"] for row in _rows(root)} == {f"{i}.png" for i in range(6)}
    assert "24 LR images of 6 photos" in caplog.text
    assert "6 in quarantine: 1 duplicate, 1 multiple_frames, 1 too_small, 1 truncated, 2 unreadable" in caplog.text


def test_a_photo_in_two_folders_is_used_once(root: Path) -> None:
    (root / "more").mkdir()
    (root / "more/copy.png").write_bytes((root / "photos/2.png").read_bytes())
    _photo(root / "more/new.png", 77)
    run(_settings(sources=[Path("photos"), Path("more")]), root)
    assert _quarantine(root) == {"copy.png": "duplicate"}
    assert len({row["source"] for row in _rows(root)}) == 7


def test_more_photos_for_align_leave_the_other_splits_alone(root: Path) -> None:
    run(_settings(), root)
    before = {row["lr_id"]: row["split"] for row in _rows(root)}
    (root / "more").mkdir()
    for seed in range(6):
        (root / f"more/copy of {seed}.png").write_bytes((root / f"photos/{seed}.png").read_bytes())
    _photo(root / "more/new.png", 77)
    run(_settings(align_sources=[Path("more")]), root)
    after = {row["lr_id"]: row["split"] for row in _rows(root)}
    assert before.items() <= after.items()
    assert [after[lr_id] for lr_id in after.keys() - before.keys()] == ["align"] * 4
    assert _quarantine(root) == {f"copy of {seed}.png": "duplicate" for seed in range(6)}


def test_equal_lr_crops_are_kept_once(root: Path) -> None:
    Image.new("RGB", (64, 32), (255, 255, 255)).save(root / "photos/white.png")
    no_noise = DegradationSettings(gaussian_probability=1.0, gaussian_sigma=(0.0, 0.0))
    run(_settings(degradation=no_noise), root)
    assert _quarantine(root) == {"white.png": "duplicate"}
    assert sum(row["source_name"] == "white.png" for row in _rows(root)) == 1


def test_real_lr_images_have_no_hr(root: Path) -> None:
    _photo(root / "phone/a.png", 50, 17, 9)
    run(_settings(lr_sources=[Path("phone")]), root)
    real = [row for row in _rows(root) if not row["has_hr"]]
    assert [(row["crop_x"], row["crop_y"]) for row in sorted(real, key=lambda row: row["crop_x"])] == [(0, 0), (8, 0)]
    photo = np.asarray(Image.open(root / "phone/a.png"))
    shards = ShardFolder(root / "data/dataset")
    for row in real:
        assert (row["lr_width"], row["lr_height"], row["width"], row["height"]) == (8, 8, 32, 32)
        assert row["degradation"] == ""
        lr = shards[row["shard"]].image(f"{row['lr_id']}.lr.png")
        np.testing.assert_array_equal(lr, photo[:8, row["crop_x"] : row["crop_x"] + 8])
        with pytest.raises(BadInput, match="no member"):
            shards[row["shard"]].read(f"{row['lr_id']}.hr.png")


def _column(**changes: Any) -> Settings:
    return _settings(prompt=PromptSettings(kind="column", **changes))


def _prompt_rows(root: Path) -> list[tables.Row]:
    return tables.read_rows(root / "data/prompts.parquet", tables.PROMPTS)


def test_a_fixed_prompt_is_that_of_all(root: Path) -> None:
    (root / "photos/manifest.csv").write_text("file,prompt\n2.png,a cat\n", encoding="utf-8")
    run(_settings(prompt=PromptSettings(text="sharp")), root)
    assert {row["prompt"] for row in _rows(root)} == {"sharp"}
    assert [row["lr_id"] for row in _prompt_rows(root)] == [row["lr_id"] for row in _rows(root)]
    assert {(row["prompt"], row["kind"], row["model"], row["model_digest"]) for row in _prompt_rows(root)} == {
        ("sharp", "fixed", "", "")
    }


def test_prompts_come_from_the_manifest(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    (root / "photos/manifest.csv").write_text('file,prompt\n2.png,"a cat, asleep"\n', encoding="utf-8")
    run(_column(), root)
    assert {row["source_name"]: row["prompt"] for row in _rows(root)}["2.png"] == "a cat, asleep"
    assert {row["prompt"] for row in _rows(root) if row["source_name"] != "2.png"} == {""}
    assert "5 of 6 photos have no row" in caplog.text
    assert {row["kind"] for row in _prompt_rows(root)} == {"column"}


def test_a_manifest_that_is_not_there_is_named(root: Path) -> None:
    with pytest.raises(BadInput, match=r"photos/tags\.parquet, which does not exist; .* \(columns file and tags\)"):
        run(_column(manifest="tags.parquet", column="tags"), root)


def test_a_captioner_is_called_once_per_lr(
    root: Path, captioner_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The second run finds all captions; the rows name the model."""
    settings = _settings(prompt=PromptSettings(kind="captioner", model=captioner_folder, max_tokens=6))
    with caplog.at_level(logging.INFO, "dp2o.prepare"):
        run(settings, root)
        first = _published(root)
        run(settings, root)
    texts = [record.message for record in caplog.records]
    assert _published(root) == first
    rows = _rows(root)
    assert [text for text in texts if "captions made" in text] == [
        f"{len(rows)} captions made, the others were in the cache",
        "0 captions made, the others were in the cache",
    ]
    assert len({row["prompt"] for row in rows}) > 1
    (made,) = {(row["kind"], row["model"], len(row["model_digest"])) for row in _prompt_rows(root)}
    assert made == ("captioner", str(captioner_folder), 64)
    assert {row["lr_id"]: row["prompt"] for row in _prompt_rows(root)} == {row["lr_id"]: row["prompt"] for row in rows}


def test_a_captioner_that_is_not_there_is_refused_before_any_work(root: Path) -> None:
    settings = _settings(prompt=PromptSettings(kind="captioner", model=Path("nowhere/at/all")))
    with pytest.raises(BadInput, match=r"prepare\.prompt\.model: .*nowhere/at/all is no image-to-text model"):
        run(settings, root)
    assert not (root / "data").exists()


def test_a_missing_folder_is_named(root: Path) -> None:
    with pytest.raises(BadInput, match=r"prepare.sources: .*nowhere is not a folder"):
        run(_settings(sources=[Path("nowhere")]), root)


def test_an_empty_folder_is_named(root: Path) -> None:
    (root / "empty").mkdir()
    with pytest.raises(BadInput, match=r"prepare.sources: .*empty holds no photo"):
        run(_settings(sources=[Path("empty")]), root)


def test_too_few_photos_say_what_was_set_aside(root: Path) -> None:
    (root / "few").mkdir()
    (root / "few/broken.jpg").write_bytes(b"")
    _photo(root / "few/a.png", 1)
    with pytest.raises(BadInput, match=r"1 usable photos .*1 in quarantine: 1 empty"):
        run(_settings(sources=[Path("few")]), root)


def test_a_failing_run_leaves_the_published_dataset_alone(root: Path) -> None:
    run(_settings(), root)
    before = _published(root)
    with pytest.raises(BadInput):
        run(_settings(sources=[Path("photos"), Path("nowhere")]), root)
    assert _published(root) == before


def test_shards_are_refused(root: Path) -> None:
    with pytest.raises(BadInput, match="leave --shard out"):
        run(_settings(), root, Shard(0, 2))
