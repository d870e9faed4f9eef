"""The stage on made LR images with a random network: the same bytes however the work is cut, stopped and resumed."""

import logging
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from components.artifacts import latents, tables
from components.artifacts.images import to_tensor
from components.artifacts.shards import Shard, ShardFolder
from components.backbones import restore
from components.backbones.base import candidate_seed
from components.backbones.residual_flow import WEIGHTS
from components.backbones.restore import BLOCK
from components.backbones.tiny_flow import TinyFlow
from components.errors import BadInput
from components.generate.stage import run
from components.settings import Settings
from components.storage import digests
from tests.made import SIDE, LatentFlow, tiny_model, write_dataset, write_params

M = 5
SPLITS = ["align"] * 4 + ["validation", "test"]


@pytest.fixture
def project(tmp_path: Path, tiny_folder: Path) -> Path:
    shutil.copytree(tiny_folder, tmp_path / "weights")
    write_dataset(tmp_path, SPLITS)
    return tmp_path


def settings(root: Path, backbone: dict[str, Any] | None = None, **generate: Any) -> Settings:
    return write_params(
        root,
        backbone={"path": "weights", "steps": 2} | (backbone or {}),
        generate={"candidates": M, "batch": 2, "shards": 1} | generate,
        pair={"top": 1},
    )


def candidates(root: Path) -> list[tables.Row]:
    return tables.read_rows(root / "data/candidates.parquet", tables.CANDIDATES)


def outputs(root: Path) -> dict[str, bytes]:
    files = [root / "data/candidates.parquet", *sorted((root / "data/candidates").iterdir())]
    return {file.name: file.read_bytes() for file in files}


def cached(root: Path) -> set[str]:
    return {path.stem.split("-")[0] for path in (root / "cache").rglob("*.group")}


@pytest.fixture
def sampled(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows of each call of the sampler."""
    calls: list[int] = []
    original = restore.sample

    def counting(backbone: Any, condition: Any, noise: Any, *rest: Any) -> Any:
        calls.append(len(noise))
        return original(backbone, condition, noise, *rest)

    monkeypatch.setattr(restore, "sample", counting)
    return calls


def test_rows_and_images(project: Path) -> None:
    run(settings(project), project)
    rows = candidates(project)
    align = {row["lr_id"] for row in tables.read_rows(project / "data/dataset.parquet", tables.DATASET)[:4]}
    assert [(row["lr_id"], row["index"]) for row in rows] == [(lr_id, i) for lr_id in sorted(align) for i in range(M)]
    model = TinyFlow.load(project / "weights", 2, tiny_model().device)
    shards = ShardFolder(project / "data/candidates")
    for row in rows:
        assert row["split"] == "align"
        assert row["seed"] == candidate_seed(row["lr_id"], row["index"])
        assert row["model_digest"] == model.digest("reference")
        image = shards[row["shard"]].image(f"{row['lr_id']}.{row['index']:03d}.png")
        assert image.shape == (SIDE, SIDE, 3)
        assert digests.of_pixels(image) == row["image_digest"]
    assert len({row["image_digest"] for row in rows}) == len(rows)
    assert len({(row["sampler_digest"], row["code_version"]) for row in rows}) == 1


def test_latents_are_stored_beside_their_images(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From before the colour fix, the same from the sampler and from the cache; not for a pixel-space backbone."""
    chosen = settings(project, {"colour_fix": "adain"})
    run(chosen, project)
    rows = candidates(project)
    first = rows[0]
    names = list(ShardFolder(project / "data/candidates")[first["shard"]])
    assert not [name for name in names if "latent" in name]

    shutil.rmtree(project / "cache")
    monkeypatch.setattr(TinyFlow, "load", LatentFlow.load)
    run(chosen, project)
    assert candidates(project) == rows
    made = outputs(project)
    shard = ShardFolder(project / "data/candidates")[first["shard"]]
    assert len(list(shard)) == 2 * len(rows)
    latent = latents.decode(shard.read(latents.member(first["lr_id"], 0)), "")
    plain = settings(project, {"colour_fix": "none"})
    run(plain, project)
    image = ShardFolder(project / "data/candidates")[first["shard"]].image(f"{first['lr_id']}.000.png")
    assert (2 * latent - to_tensor(image)[0]).abs().max() <= 0.5 / 255 + 1e-6
    run(chosen, project)
    assert outputs(project) == made


def test_workers_do_not_change_a_byte(project: Path, sampled: list[int], caplog: pytest.LogCaptureFixture) -> None:
    run(settings(project), project)
    expected = outputs(project)
    shutil.rmtree(project / "cache")
    sampled.clear()
    chosen = settings(project)
    with caplog.at_level(logging.INFO, "dp2o.generate"):
        run(chosen.model_copy(update={"run": chosen.run.model_copy(update={"workers": 2})}), project)
    assert outputs(project) == expected
    assert sampled == []  # not in this process
    assert f"{4 * M} candidates made, 0 found in the cache" in caplog.text


@pytest.mark.parametrize("colour_fix", ["none", "adain"])
def test_batch_size_does_not_change_a_byte(project: Path, colour_fix: str) -> None:
    found = []
    for batch in (1, 3, 16):
        shutil.rmtree(project / "cache", ignore_errors=True)
        run(settings(project, {"colour_fix": colour_fix}, batch=batch), project)
        found.append(outputs(project))
    assert found[0] == found[1] == found[2]


def test_the_number_of_shards_changes_the_shard_column_alone(project: Path) -> None:
    def images(root: Path) -> dict[str, bytes]:
        shards = ShardFolder(root / "data/candidates")
        return {
            name: shards[file.name].read(name)
            for file in (root / "data/candidates").iterdir()
            for name in shards[file.name]
        }

    run(settings(project), project)
    one_rows, one_images = candidates(project), images(project)
    for count in (2, 3):
        shutil.rmtree(project / "cache")
        run(settings(project, shards=count), project)
        rows = candidates(project)
        assert {row["shard"] for row in rows} == {f"{index:05d}-of-{count:05d}.tar" for index in range(count)}
        assert [row | {"shard": ""} for row in rows] == [row | {"shard": ""} for row in one_rows]
        assert images(project) == one_images


def test_parts_of_the_work_fill_the_cache_and_together_are_the_whole(
    project: Path, sampled: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    whole = settings(project)
    run(whole, project)
    expected = outputs(project)
    shutil.rmtree(project / "cache")
    shutil.rmtree(project / "data/candidates")
    (project / "data/candidates.parquet").unlink()
    ids = {row["lr_id"] for row in tables.read_rows(project / "data/dataset.parquet", tables.DATASET)[:4]}
    done: set[str] = set()
    for index in range(3):
        with caplog.at_level(logging.INFO, "dp2o.generate"):
            caplog.clear()
            run(whole, project, Shard(index, 3))
        part = set(Shard(index, 3).take(ids))
        done |= part
        assert cached(project) == done
        assert f"{len(part) * M} candidates made, 0 found in the cache" in caplog.text
    assert not (project / "data/candidates.parquet").exists()
    sampled.clear()
    run(whole, project)
    assert sampled == []
    assert outputs(project) == expected


def test_with_nothing_new_no_network_is_built(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(settings(project), project)
    expected = outputs(project)
    monkeypatch.setattr("components.generate.stage.load_backbone", None)
    run(settings(project), project)
    assert outputs(project) == expected


def test_a_killed_run_continues(project: Path, sampled: list[int]) -> None:
    chosen = settings(project)
    run(chosen, project)
    expected = outputs(project)
    shutil.rmtree(project / "cache")
    script = f"""
        import os, signal
        from pathlib import Path
        import components.generate.stage as stage
        from components.settings import load_settings

        root, sample, calls = Path({str(project)!r}), stage.sample_candidates, []

        def killed_in_the_third_group(*arguments):
            calls.append(1)
            if len(calls) == 3:
                os.kill(os.getpid(), signal.SIGKILL)
            return sample(*arguments)

        stage.sample_candidates = killed_in_the_third_group
        stage.run(load_settings(root / "params.yaml"), root)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], check=False, capture_output=True, timeout=300
    )
    assert done.returncode == -signal.SIGKILL
    assert len(cached(project)) == 2
    sampled.clear()
    run(chosen, project)
    assert len(sampled) == 2 * -(-M // 2)  # two groups left, of batches of 2
    assert outputs(project) == expected


def test_damaged_cache_entries_are_made_again(project: Path, sampled: list[int]) -> None:
    chosen = settings(project)
    run(chosen, project)
    expected = outputs(project)
    first, second, *_ = sorted((project / "cache").rglob("*.group"))
    first.write_bytes(first.read_bytes()[:-10])
    altered = bytearray(second.read_bytes())
    altered[-50] ^= 1
    second.write_bytes(altered)
    sampled.clear()
    run(chosen, project)
    assert len(sampled) == 2 * -(-M // 2)
    assert outputs(project) == expected


def test_more_candidates_make_only_the_new_ones(project: Path, sampled: list[int]) -> None:
    run(settings(project, batch=16), project)
    before = {(row["lr_id"], row["index"]): row["image_digest"] for row in candidates(project)}
    sampled.clear()
    run(settings(project, batch=16, candidates=M + BLOCK["cpu"]), project)
    assert sampled == [BLOCK["cpu"]] * 4  # one block of new candidates for each of the four LR images
    after = {(row["lr_id"], row["index"]): row["image_digest"] for row in candidates(project)}
    assert len(after) == 4 * (M + BLOCK["cpu"])
    assert before.items() <= after.items()
    more = outputs(project)
    shutil.rmtree(project / "cache")
    run(settings(project, batch=16, candidates=M + BLOCK["cpu"]), project)
    assert outputs(project) == more
    sampled.clear()
    run(settings(project, candidates=3), project)  # and fewer make none
    assert sampled == []
    assert len(candidates(project)) == 12


@pytest.mark.parametrize("change", ["weights", "steps", "colour_fix", "code"])
def test_changes_that_change_pixels_do_not_reuse_the_cache(
    project: Path, sampled: list[int], change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(settings(project), project)
    count = len(sampled)
    backbone: dict[str, Any] = {}
    if change == "weights":
        tiny_model(seed=1).save(project / "weights")
    elif change == "code":
        monkeypatch.setattr("components.generate.stage.CODE_VERSION", "other")
    else:
        backbone = {change: 3 if change == "steps" else "wavelet"}
    before = candidates(project)
    run(settings(project, backbone), project)
    assert len(sampled) == 2 * count
    names = {"weights": "model_digest", "code": "code_version"}
    differing = names.get(change, "sampler_digest")
    for old, new in zip(before, candidates(project), strict=True):
        assert [name for name in old if old[name] != new[name] and name != "image_digest"] == [differing]


def test_splits_get_candidates_when_named(project: Path) -> None:
    run(settings(project, splits=["align", "test"]), project)
    assert [row["split"] for row in candidates(project)].count("test") == M


def test_adding_an_image_costs_that_image_alone(project: Path, sampled: list[int]) -> None:
    run(settings(project), project)
    sampled.clear()
    write_dataset(project, [*SPLITS, "align"])
    run(settings(project), project)
    assert len(sampled) == -(-M // 2)
    assert len(candidates(project)) == 5 * M


def test_errors(project: Path) -> None:
    chosen = settings(project)
    write_dataset(project, ["test"])
    with pytest.raises(BadInput, match=r"no LR image in the splits \['align'\]"):
        run(chosen, project)
    (project / "data/dataset.parquet").unlink()
    with pytest.raises(BadInput, match=r"dataset\.parquet does not exist; run the stage"):
        run(chosen, project)
    write_dataset(project, SPLITS)
    (project / "weights" / WEIGHTS).unlink()
    with pytest.raises(BadInput, match=r"has no model\.safetensors"):
        run(chosen, project)
    assert not (project / "data/candidates.parquet").exists()


def test_a_cache_that_loses_groups_is_noticed(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("components.generate.cache.GroupCache.write", lambda *arguments: None)
    with pytest.raises(BadInput, match="holds 0 of the 5 candidates"):
        run(settings(project), project)
    assert not (project / "data/candidates").exists()


def test_candidates_come_from_the_reference(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A policy that has moved on does not change them."""
    run(settings(project), project)
    before = outputs(project)
    load = TinyFlow.load

    def moved(*arguments: Any) -> TinyFlow:
        model = load(*arguments)
        for parameter in model.policy.parameters():
            parameter.data.mul_(0.5)
        return model

    monkeypatch.setattr(TinyFlow, "load", moved)
    shutil.rmtree(project / "cache")
    run(settings(project), project)
    assert outputs(project) == before
