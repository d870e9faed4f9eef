"""Real pairs through the stage: cropped together, split by scene, and what is no pair in quarantine."""

import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from components.artifacts import tables
from components.artifacts.shards import ShardFolder
from components.errors import BadInput
from components.prepare.stage import run
from components.settings import PairFolders, PromptSettings, Settings
from components.storage import digests
from tests.prepare.test_aligned import landscape
from tests.prepare.test_stage import _published as published
from tests.prepare.test_stage import _rows as rows_of
from tests.prepare.test_stage import _settings

LR, HR = "lr/{}_LR4.png", "hr/{}_HR.png"


def settings_of(lr: str = "lr", hr: str = "hr", **changes: Any) -> Settings:
    pairs = [PairFolders(lr=Path(lr), hr=Path(hr))]
    return _settings(**{"sources": [], "pairs": pairs, "crops_per_photo": 3} | changes)


def write(path: Path, pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def write_pair(root: Path, name: str, seed: int, lr: str = LR, hr: str = HR) -> None:
    """An HR of 128 x 96 px and the LR that is the mean of its areas."""
    high = landscape(96, 128, seed)
    write(root / hr.format(name), high)
    write(root / lr.format(name), high.reshape(24, 4, 32, 4, 3).mean((1, 3)).round().astype(np.uint8))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for seed in range(4):
        write_pair(tmp_path, f"Canon_00{seed}", seed)
    return tmp_path


def quarantine(root: Path) -> dict[str, tuple[str, str]]:
    rows = tables.read_rows(root / "data/quarantine.parquet", tables.QUARANTINE)
    return {row["file"]: (row["reason"], row["detail"]) for row in rows}


def test_pairs_are_cropped_together(root: Path) -> None:
    run(settings_of(), root)
    rows, shards = rows_of(root), ShardFolder(root / "data/dataset")
    assert len(rows) == 4 * 3
    assert quarantine(root) == {}
    for row in rows:
        x, y = row["crop_x"], row["crop_y"]
        high = np.asarray(Image.open(root / "hr" / row["source_name"]))
        low = np.asarray(Image.open(root / "lr" / row["source_name"].replace("_HR", "_LR4")))
        hr, lr = (shards[row["shard"]].image(f"{row['lr_id']}.{side}.png") for side in ("hr", "lr"))
        np.testing.assert_array_equal(hr, high[y : y + 32, x : x + 32])
        np.testing.assert_array_equal(lr, low[y // 4 : y // 4 + 8, x // 4 : x // 4 + 8])
        assert row["lr_id"] == digests.of_pixels(lr)
        assert row["source"] == digests.of_file(root / "hr" / row["source_name"])
        assert (row["width"], row["lr_width"], row["scale"], row["has_hr"]) == (32, 8, 4, True)
        assert row["degradation"] == ""
    assert {row["split"] for row in rows} == {"align", "validation", "test"}


def test_two_runs_publish_the_same_bytes(root: Path) -> None:
    run(settings_of(), root)
    first = published(root)
    run(settings_of(), root)
    assert published(root) == first


def test_one_folder_holds_both_sides_as_realsr_has_them(root: Path) -> None:
    run(settings_of(), root)
    first = rows_of(root)
    shutil.copytree(root / "lr", root / "both")
    shutil.copytree(root / "hr", root / "both", dirs_exist_ok=True)
    run(settings_of("both", "both"), root)
    assert rows_of(root) == first


def test_what_is_no_pair_is_set_aside(root: Path) -> None:
    write(root / "lr/lonely_LR4.png", landscape(24, 32, 30))
    write(root / "hr/alone_HR.png", landscape(96, 128, 31))
    write_pair(root, "moved", 20)
    moved = np.asarray(Image.open(root / HR.format("moved")))
    write(root / HR.format("moved"), np.roll(moved, 12, axis=1))
    write_pair(root, "double", 21)
    write(root / HR.format("double"), landscape(48, 64, 21))
    write_pair(root, "odd", 22)
    write(root / HR.format("odd"), landscape(110, 128, 22))
    write_pair(root, "other", 23)
    write(root / HR.format("other"), landscape(96, 128, 24))
    write_pair(root, "again", 0)
    write_pair(root, "cut", 25)
    os.truncate(root / LR.format("cut"), 300)
    write_pair(root, "empty", 26)
    os.truncate(root / HR.format("empty"), 0)
    (root / "lr/gone_LR4.png").symlink_to(root / "nowhere")
    run(settings_of(), root)
    found = quarantine(root)
    assert {name: reason for name, (reason, _) in found.items()} == {
        "lonely_LR4.png": "unpaired",
        "alone_HR.png": "unpaired",
        "moved_LR4.png": "misaligned",
        "double_HR.png": "misaligned",
        "odd_HR.png": "misaligned",
        "other_LR4.png": "misaligned",
        "again_LR4.png": "duplicate",
        "cut_LR4.png": "truncated",
        "empty_HR.png": "empty",
        "gone_LR4.png": "link",
    }
    assert re.search(r"LR and HR are (2\.9|3\.[01]) px across and 0\.\d px down apart", found["moved_LR4.png"][1])
    assert found["double_HR.png"][1].startswith("64 x 48 px are 2 times the 32 x 24 px of double_LR4.png")
    assert "no whole number of times" in found["odd_HR.png"][1]
    assert {row["source_name"] for row in rows_of(root)} == {f"Canon_00{seed}_HR.png" for seed in range(4)}


def test_parts_of_a_photo_and_lr_images_of_one_hr_are_one_scene(root: Path) -> None:
    for part in range(3):
        write_pair(root, f"Canon_000_s00{part}", 40 + part, "lr/{}.png", "hr/{}.png")
    write_pair(root, "phone_2", 2)
    low = np.asarray(Image.open(root / LR.format("phone_2")))
    write(root / LR.format("phone_2"), np.clip(low.astype(int) + 3, 0, 255).astype(np.uint8))
    run(settings_of(), root)
    of_scene: dict[str, set[str]] = {}
    for row in rows_of(root):
        of_scene.setdefault(row["source_name"], set()).add(row["source"])
    parts = [of_scene[name] for name in of_scene if name.startswith("Canon_000")]
    assert len(parts) == 4
    assert len(set.union(*parts)) == 1
    assert of_scene["phone_2_HR.png"] == of_scene["Canon_002_HR.png"]
    assert len({row["source"] for row in rows_of(root)}) == 4
    assert quarantine(root) == {}


def test_photos_of_pairs_are_not_training_photos_as_well(root: Path) -> None:
    """An HR that is in a split as part of a pair is set aside from those that are all for training; so is its LR."""
    run(settings_of(), root)
    before = rows_of(root)
    run(settings_of(align_sources=[Path("hr")], align_lr_sources=[Path("lr")]), root)
    assert rows_of(root) == before
    assert {reason for reason, _ in quarantine(root).values()} == {"duplicate"}
    assert len(quarantine(root)) == 8


def test_an_hr_that_is_degraded_as_well_keeps_its_split(root: Path) -> None:
    run(settings_of(sources=[Path("hr")]), root)
    splits: dict[str, set[str]] = {}
    for row in rows_of(root):
        splits.setdefault(row["source"], set()).add(row["split"])
    assert len(splits) == 4
    assert all(len(found) == 1 for found in splits.values())
    assert {row["degradation"] == "" for row in rows_of(root)} == {True, False}


def test_prompts_stand_beside_the_lr_images(root: Path) -> None:
    (root / "lr/manifest.csv").write_text("file,prompt\nCanon_001_LR4.png,a lake\n", encoding="utf-8")
    run(settings_of(prompt=PromptSettings(kind="column")), root)
    assert {row["prompt"] for row in rows_of(root) if row["source_name"].startswith("Canon_001")} == {"a lake"}


def test_an_lr_that_reaches_beyond_its_hr_is_cut_to_it(root: Path) -> None:
    """LR of 32 px a row over HR of 126 px, as MATLAB's imresize rounds up: 31 px are there on both sides."""
    for seed in range(4):
        high = np.asarray(Image.open(root / HR.format(f"Canon_00{seed}")))
        write(root / HR.format(f"Canon_00{seed}"), high[:, :126])
    run(settings_of(crops_per_photo=50), root)
    assert len(rows_of(root)) == 4 * 9
    assert sorted({row["crop_x"] for row in rows_of(root)}) == [12, 44, 76]


@pytest.mark.parametrize(("scale", "side", "said"), [(2, 64, "or set prepare.scale to 2"), (1, 32, "version 3 of Re")])
def test_a_folder_of_another_scale_contradicts_the_settings(root: Path, scale: int, side: int, said: str) -> None:
    shutil.rmtree(root / "hr")
    for seed in range(4):
        write(root / HR.format(f"Canon_00{seed}"), landscape(side * 3 // 4, side, seed))
    with pytest.raises(BadInput, match=rf"all 4 pairs of lr and hr are of scale {scale}, .*Canon_000_HR.png: .*{said}"):
        run(settings_of(), root)


def test_folders_that_do_not_pair_are_named(root: Path) -> None:
    write(root / "more/b.png", landscape(96, 128, 1))
    with pytest.raises(BadInput, match=r"no file of lr and more makes a pair: Canon_000_LR4.png: no HR image"):
        run(settings_of(hr="more"), root)
    with pytest.raises(BadInput, match=r"prepare.pairs\[0\].hr: .*nowhere is not a folder"):
        run(settings_of(hr="nowhere"), root)
