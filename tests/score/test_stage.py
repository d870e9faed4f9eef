"""The stage on three LR images (one without HR) of six candidates, one of them constant."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from components.artifacts import tables
from components.artifacts.shards import Shard, encode_png, write_shard
from components.errors import BadInput
from components.metrics.suite import GroupScores, Suite
from components.score.stage import run
from components.settings import Settings, load_settings
from components.storage import digests

ROOT = Path(__file__).resolve().parents[2]
M, SIDE, SCALE = 6, 64, 4
COUNT = 3


def settings(workers: int = 0, **score: Any) -> Settings:
    base = load_settings(ROOT / "params.yaml", [f"run.workers={workers}"])
    chosen = {"fr": ["gmsd"], "nr": ["piqe"], "held_out": ["brisque", "psnr"], "batch": 4} | score
    return base.model_copy(update={"score": type(base.score)(**chosen)})


def smooth(generator: np.random.Generator) -> NDArray[np.float64]:
    """A picture with gradients and edges, `[SIDE, SIDE, 3]` in [0.1, 0.9]."""
    rows, columns = np.indices((SIDE, SIDE)) / SIDE
    waves = [np.sin(generator.uniform(2, 20) * (rows + factor * columns)) for factor in generator.uniform(-2, 2, 3)]
    return np.asarray(0.5 + 0.4 * np.sign(np.stack(waves, axis=-1)) * np.sqrt(rows[..., None]))


def to_bytes(image: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.rint(image.clip(0, 1) * 255).astype(np.uint8)


def write_candidates(root: Path, images: dict[str, list[NDArray[np.uint8]]]) -> None:
    members, rows = [], []
    for lr_id, group in sorted(images.items()):
        for index, image in enumerate(group):
            members.append((f"{lr_id}.{index:03d}.png", encode_png(image)))
            made_by = {"model_digest": "m", "sampler_digest": "s", "code_version": "1"}
            place = {"lr_id": lr_id, "index": index, "split": "align", "seed": index, "shard": "0.tar"}
            rows.append(place | made_by | {"image_digest": digests.of_pixels(image)})
    write_shard(root / "data/candidates/0.tar", members)
    tables.write_rows(root / "data/candidates.parquet", tables.CANDIDATES, rows)


@pytest.fixture
def images(tmp_path: Path) -> dict[str, list[NDArray[np.uint8]]]:
    """Writes dataset and candidates below `tmp_path`; gives the candidates. Candidate 2 of the first LR is constant."""
    generator = np.random.default_rng(0)
    groups, members, rows = {}, [], []
    for number in range(COUNT):
        hr = smooth(generator)
        lr = to_bytes(hr.reshape(SIDE // SCALE, SCALE, SIDE // SCALE, SCALE, 3).mean((1, 3)))
        lr_id, has_hr = digests.of_pixels(lr), number < COUNT - 1
        members.append((f"{lr_id}.lr.png", encode_png(lr)))
        if has_hr:
            members.append((f"{lr_id}.hr.png", encode_png(to_bytes(hr))))
        sizes = {"width": SIDE, "height": SIDE, "lr_width": SIDE // SCALE, "lr_height": SIDE // SCALE, "scale": SCALE}
        place = {"lr_id": lr_id, "split": "align", "source": "p", "source_name": "p.png", "crop_x": 0, "crop_y": 0}
        rows.append(place | sizes | {"has_hr": has_hr, "shard": "0.tar", "prompt": "", "degradation": ""})
        noisy = [to_bytes(hr + 0.03 * (index + 1) * generator.standard_normal(hr.shape)) for index in range(M)]
        if number == 0:
            noisy[2][:] = 128
        groups[lr_id] = noisy
    write_shard(tmp_path / "data/dataset/0.tar", members)
    tables.write_rows(tmp_path / "data/dataset.parquet", tables.DATASET, rows)
    write_candidates(tmp_path, groups)
    return groups


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], int]]:
    """The metrics and the number of candidates of every call to the metrics, in order."""
    calls: list[tuple[list[str], int]] = []
    original: Callable[..., GroupScores] = Suite.score

    def counting(self: Suite, candidates: Any, hr: Any, lr: Any, batch: Any, names: Any) -> GroupScores:
        calls.append((list(names), len(candidates)))
        return original(self, candidates, hr, lr, batch, names)

    monkeypatch.setattr(Suite, "score", counting)
    return calls


def scores(root: Path) -> list[dict[str, Any]]:
    return tables.read_any(root / "data/scores.parquet")[1]


def test_scores_rewards_and_quarantine(
    tmp_path: Path, images: dict[str, list[NDArray[np.uint8]]], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "dp2o.score"):
        run(settings(), tmp_path)
    names, rows = tables.read_any(tmp_path / "data/scores.parquet")
    assert names == ["lr_id", "index", "split", "gmsd", "piqe", "brisque", "psnr", "lr_consistency", "reward"]
    assert len(rows) == COUNT * M
    first, _, without_hr = images
    for row in rows:
        assert (row["gmsd"] is None) == (row["psnr"] is None) == (row["lr_id"] == without_hr)
        assert 0.0 <= row["reward"] <= 1.0
    assert [row["index"] for row in rows if row["brisque"] is None] == [2]
    (failure,) = tables.read_rows(tmp_path / "data/score_quarantine.parquet", tables.SCORE_QUARANTINE)
    assert failure["lr_id"] == first
    assert (failure["index"], failure["metric"], failure["reason"]) == (2, "brisque", "not_finite")
    assert "1 scores missing" in caplog.text
    assert "brisque (not_finite): 1" in caplog.text


def test_a_rewarded_failure_takes_the_candidate_out(tmp_path: Path, images: dict[str, Any]) -> None:
    run(settings(nr=["brisque"], held_out=[]), tmp_path)
    first = next(iter(images))
    assert [row["index"] for row in scores(tmp_path) if row["lr_id"] == first] == [0, 1, 3, 4, 5]
    group = [row["reward"] for row in scores(tmp_path) if row["lr_id"] == first]
    assert all(np.isfinite(group))


def test_second_run_computes_nothing_and_gives_the_same_bytes(
    tmp_path: Path, images: dict[str, Any], scored: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(settings(), tmp_path)
    assert len(scored) == COUNT
    before = (tmp_path / "data/scores.parquet").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(Suite, "load", None)  # networks are loaded for what is missing alone
        run(settings(), tmp_path)
    assert len(scored) == COUNT
    assert (tmp_path / "data/scores.parquet").read_bytes() == before


def test_neither_workers_nor_threads_change_a_byte(tmp_path: Path, images: dict[str, Any], scored: list[Any]) -> None:
    """The last bits of EfficientNet's features depend on torch's threads."""
    before = torch.get_num_threads()
    made = []
    try:
        for threads, workers in ((1, 0), (2, 0), (2, 2)):
            torch.set_num_threads(threads)
            shutil.rmtree(tmp_path / "cache", ignore_errors=True)
            scored.clear()
            run(settings(workers, nr=["rank_effnet"]), tmp_path)
            assert bool(scored) == (workers == 0)  # in this process, or not
            made.append((tmp_path / "data/scores.parquet").read_bytes())
    finally:
        torch.set_num_threads(before)
    assert made[0] == made[1] == made[2]


def test_a_killed_run_continues(tmp_path: Path, images: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    original, seen = Suite.score, []

    def dies_at_the_second(self: Suite, *arguments: Any) -> GroupScores:
        seen.append(1)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return original(self, *arguments)

    monkeypatch.setattr(Suite, "score", dies_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        run(settings(), tmp_path)
    assert not (tmp_path / "data/scores.parquet").exists()
    run(settings(), tmp_path)
    assert len(seen) == 2 + COUNT - 1
    assert len(scores(tmp_path)) == COUNT * M


def test_shards_fill_the_cache_and_the_run_without_one_collects(
    tmp_path: Path, images: dict[str, Any], scored: list[Any]
) -> None:
    for index in range(2):
        run(settings(), tmp_path, Shard(index, 2))
        assert not (tmp_path / "data/scores.parquet").exists()
    assert len(scored) == COUNT
    run(settings(), tmp_path)
    assert len(scored) == COUNT
    assert len(scores(tmp_path)) == COUNT * M


def test_new_candidates_and_new_metrics_cost_themselves(
    tmp_path: Path, images: dict[str, list[NDArray[np.uint8]]], scored: list[Any]
) -> None:
    write_candidates(tmp_path, {lr_id: group[: M - 2] for lr_id, group in images.items()})
    run(settings(held_out=[]), tmp_path)
    assert {count for _, count in scored} == {M - 2}
    scored.clear()
    write_candidates(tmp_path, images)
    run(settings(held_out=[]), tmp_path)
    assert {count for _, count in scored} == {2}
    scored.clear()
    run(settings(held_out=["psnr"]), tmp_path)
    assert scored == [(["psnr"], M)] * (COUNT - 1)


def test_candidates_without_a_dataset_row_are_refused(tmp_path: Path, images: dict[str, Any]) -> None:
    rows = tables.read_rows(tmp_path / "data/dataset.parquet", tables.DATASET)
    tables.write_rows(tmp_path / "data/dataset.parquet", tables.DATASET, rows[1:])
    with pytest.raises(BadInput, match=r"has 1 LR images that .* lacks"):
        run(settings(), tmp_path)


def test_all_failing_says_which_metric(tmp_path: Path, images: dict[str, list[NDArray[np.uint8]]]) -> None:
    write_candidates(tmp_path, {lr_id: [np.full_like(group[0], 128)] for lr_id, group in images.items()})
    with pytest.raises(BadInput, match=r"missing are brisque \(not_finite\): 3"):
        run(settings(nr=["brisque"], held_out=[]), tmp_path)
