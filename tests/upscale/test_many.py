"""Folders of photos as people have them: what is done is not done again, and a bad picture costs itself alone."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from components.errors import BadInput
from components.metrics.suite import Suite
from components.settings import MixtureSettings, TinyFlowSettings
from components.upscale.jobs import NAME, check_name, find, is_one, plan
from components.upscale.many import Restoring, Summary
from components.upscale.record import FILE
from components.upscale.request import Request
from components.upscale.size import Size
from components.upscale.upscaler import Upscaler
from tests.upscale.pictures import file_of, noise


@pytest.fixture
def upscaler(model_folder: Path) -> Upscaler:
    settings = TinyFlowSettings(family="tiny_flow", path=model_folder, steps=2, colour_fix="none")
    return Upscaler.load(model_folder, settings, torch.device("cpu"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.png").write_bytes(file_of(noise(8, 8), "PNG"))
    (folder / "deep/b.png").write_bytes(file_of(noise(8, 12), "PNG"))
    (folder / "notes.txt").write_text("no picture")
    return folder


def run(upscaler: Upscaler, *paths: Path, output: Path | None = None, name: str = NAME, **options: Any) -> Summary:
    found, failed = find(paths, output)
    seed, size, force = options.pop("seed", 0), options.pop("size", Size()), options.pop("force", False)
    jobs = plan(found, output, name, upscaler.backbone.scale, seed)
    seeds = range(seed, seed + options.pop("best_of", 1))
    return Restoring(Request(upscaler, seeds, **options), size, force).run(jobs, failed)


def counts(summary: Summary) -> tuple[int, int, int]:
    return len(summary.restored), len(summary.skipped), len(summary.failed)


def test_a_folder_is_restored_as_it_lies_and_what_is_done_is_skipped(upscaler: Upscaler, photos: Path) -> None:
    assert counts(run(upscaler, photos)) == (2, 0, 0)
    large = photos.with_name("photos-x4")
    assert sorted(path.relative_to(large).as_posix() for path in large.rglob("*.png")) == ["a-x4.png", "deep/b-x4.png"]
    before = {path: path.stat().st_mtime_ns for path in large.rglob("*.png")}
    assert counts(run(upscaler, photos)) == (0, 2, 0)
    assert {path: path.stat().st_mtime_ns for path in large.rglob("*.png")} == before


def test_another_mixture_or_choice_of_seeds_is_another_result(model_folder: Path, photos: Path) -> None:
    settings = TinyFlowSettings(family="tiny_flow", path=model_folder, steps=2, colour_fix="none")
    both = Upscaler.load(model_folder, settings, torch.device("cpu"), base=model_folder)
    suite = Suite.load(["lr_consistency"])
    asked = [{}, {"mixture": MixtureSettings(strength=0.5)}, {"best_of": 2, "suite": suite}]
    for options in asked:
        assert counts(run(both, photos, **options)) == (2, 0, 0)
        assert counts(run(both, photos, **options)) == (0, 2, 0)


def test_the_result_is_that_of_one_picture(upscaler: Upscaler, photos: Path) -> None:
    from components.upscale.picture import read_picture  # noqa: PLC0415

    run(upscaler, photos, seed=3)
    picture = read_picture(photos / "deep/b.png", 1000).pixels
    written = read_picture(photos.with_name("photos-x4") / "deep/b-x4.png", 10_000).pixels
    assert np.array_equal(written, upscaler(picture, 3))


def test_what_changed_is_restored_again(upscaler: Upscaler, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(upscaler, photos, output=out)
    (photos / "a.png").write_bytes(file_of(noise(8, 8)[::-1].copy(), "PNG"))
    assert counts(run(upscaler, photos, output=out)) == (1, 1, 0)  # another photo
    assert counts(run(upscaler, photos, output=out, seed=1)) == (2, 0, 0)  # another seed
    assert counts(run(upscaler, photos, output=out, seed=1, size=Size(factor=2))) == (2, 0, 0)
    assert counts(run(upscaler, photos, output=out, seed=1, size=Size(factor=2))) == (0, 2, 0)


def test_what_was_not_made_here_is_not_overwritten(upscaler: Upscaler, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "a-x4.png").write_bytes(b"precious")
    summary = run(upscaler, photos, output=out)
    assert counts(summary) == (1, 0, 1)
    assert "--force" in summary.failed[0].reason
    assert (out / "a-x4.png").read_bytes() == b"precious"
    edited = out / "deep/b-x4.png"
    edited.write_bytes(b"edited by hand")
    summary = run(upscaler, photos, output=out)
    assert counts(summary) == (0, 0, 2)
    assert edited.read_bytes() == b"edited by hand"
    assert counts(run(upscaler, photos, output=out, force=True)) == (2, 0, 0)


def test_bad_pictures_are_told_and_the_others_restored(upscaler: Upscaler, photos: Path, tmp_path: Path) -> None:
    (photos / "broken.jpg").write_bytes(b"no picture")
    (photos / "empty.png").touch()
    (photos / "link.png").symlink_to("nowhere")
    summary = run(upscaler, photos, output=tmp_path / "out")
    assert counts(summary) == (2, 0, 3)
    text = summary.as_text()
    assert text.startswith("2 restored, 0 there already, 3 not restored")
    for name, reason in {"broken.jpg": "unreadable", "empty.png": "0 bytes", "link.png": "leads nowhere"}.items():
        assert any(name in line and reason in line for line in text.splitlines())


def test_a_picture_that_is_too_large_for_its_format_costs_itself_alone(
    upscaler: Upscaler, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("components.upscale.picture", fromlist=["LARGEST_SIDE"]).LARGEST_SIDE, ".webp", 40)
    summary = run(upscaler, photos, output=tmp_path / "out", name="{stem}.webp")
    assert counts(summary) == (1, 0, 1)
    assert "at most 40 px a side" in summary.failed[0].reason


def test_a_damaged_line_of_the_record_is_none(upscaler: Upscaler, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(upscaler, photos, output=out)
    record = out / FILE
    lines = record.read_bytes().splitlines()
    assert {json.loads(line)["target"] for line in lines if line} == {"a-x4.png", "deep/b-x4.png"}
    record.write_bytes(b"\n".join(lines)[:-20])  # as a power cut leaves it
    summary = run(upscaler, photos, output=out, force=False)
    assert counts(summary) == (0, 1, 1)  # what is not known as ours is not overwritten
    assert counts(run(upscaler, photos, output=out, force=True)) == (2, 0, 0)
    assert counts(run(upscaler, photos, output=out)) == (0, 2, 0)


def test_results_in_the_same_folder_are_no_input(upscaler: Upscaler, photos: Path) -> None:
    assert counts(run(upscaler, photos, output=photos / "large")) == (2, 0, 0)
    assert counts(run(upscaler, photos, output=photos / "large")) == (0, 2, 0)


def test_files_and_patterns(upscaler: Upscaler, photos: Path) -> None:
    assert counts(run(upscaler, photos / "a.png", photos / "**/*.png")) == (2, 0, 0)
    assert (photos / "a-x4.png").is_file()
    assert (photos / "deep/b-x4.png").is_file()
    with pytest.raises(BadInput, match=r"\*\.jpg is not there"):
        find([photos / "*.jpg"], None)
    (photos / "none").mkdir()
    with pytest.raises(BadInput, match="no picture in"):
        find([photos / "none"], None)


def test_one_or_several(photos: Path) -> None:
    assert is_one([photos / "a.png"], None)
    assert is_one([photos / "absent.png"], None)  # told as such
    assert is_one([photos / "a.png"], photos / "new.png")
    assert not is_one([photos], None)
    assert not is_one([photos / "*.png"], None)
    assert not is_one([photos / "a.png"], photos)
    assert not is_one([photos / "a.png", photos / "deep/b.png"], None)


def test_two_pictures_of_one_name_are_refused_with_the_way_out(upscaler: Upscaler, photos: Path) -> None:
    (photos / "a.jpg").write_bytes(file_of(noise(8, 8), "JPEG"))
    with pytest.raises(BadInput, match=r"would both become .*a-x4\.png: use --name \"\{file\}"):
        run(upscaler, photos)
    assert counts(run(upscaler, photos, name="{file}-x{scale}.png")) == (3, 0, 0)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("{size}.png", "use {stem}"),
        ("{stem", "use {stem}"),
        ("large.png", "gives all pictures one name"),
        ("x/{stem}.png", "goes to --output"),
        ("{stem}.bmp", r"end it with one of \.png"),
    ],
)
def test_names_that_cannot_be(name: str, why: str) -> None:
    with pytest.raises(BadInput, match=why):
        check_name(name)


def test_sizes() -> None:
    assert Size().of(10, 7, 4) == (40, 28)
    assert Size(factor=1.5).of(10, 7, 4) == (15, 10)
    assert Size(width=25).of(10, 7, 4) == (25, 18)
    assert Size(megapixels=0.0007).of(10, 7, 4) == (32, 22)
    with pytest.raises(BadInput, match=r"more than the model's factor 4: ask for less"):
        Size(width=41).of(10, 7, 4)
    with pytest.raises(BadInput, match="--scale and --width contradict each other"):
        Size(factor=2, width=10)
    with pytest.raises(BadInput, match="--scale -1: give a number above 0"):
        Size(factor=-1)
