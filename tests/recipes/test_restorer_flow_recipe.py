"""The embedded model's recipe on made photos: the pool, what is fitted, and that a stopped run continues."""

import argparse
from pathlib import Path

import numpy as np
import pytest
import torch

from components.artifacts.images import to_tensor
from components.backbones.restorer_flow import RestorerFlow, reduced, residual_unit
from components.backbones.upsampling import upsample
from recipes import restored_crops
from recipes.restored_crops import Crops, low_resolution, pool
from recipes.restorer_flow import fit_unit, rate_of, tensors, train
from tests.made import ncnn_enlarger, photo


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Crops, Path]:
    """Twenty crops of two photos, restored by repeating pixels; and the restorer."""
    folder = tmp_path_factory.mktemp("pool")
    restorer = ncnn_enlarger(folder)
    generator = np.random.default_rng(0)
    photos = [photo(generator, 160) for _ in range(2)]
    crops = pool(photos, 20, str(restorer), 0, folder / "crops", workers=2, size=10)
    return crops, restorer


def arguments(restorer: Path, **changes: object) -> argparse.Namespace:
    values: dict[str, object] = {
        "detail": 4, "second_look": 0.0, "second_look_blocks": 0,
        "channels": [8, 8], "blocks": [1, 1], "kappa": 0.7, "shift": 4.0,
        "restorer": str(restorer),
        "seed": 0, "device": "cpu", "lr": 1e-3, "warmup": 1, "horizon": 10, "steps": 4, "batch": 2, "patch": 32,
        "bf16": False, "checkpoint_every": 2, "crops": 20,
    }  # fmt: skip
    return argparse.Namespace(**(values | changes))


def test_the_pool_is_the_same_however_many_make_it(made: tuple[Crops, Path], tmp_path: Path) -> None:
    crops, restorer = made
    assert crops.hr.shape == crops.restored.shape == (20, 128, 128, 3)
    assert crops.lr.shape == (20, 32, 32, 3)
    assert set(crops.kind) <= set(restored_crops.SHARES)
    generator = np.random.default_rng(0)
    photos = [photo(generator, 160) for _ in range(2)]
    again = pool(photos, 20, str(restorer), 0, tmp_path / "crops", workers=1, size=5)
    assert np.array_equal(crops.restored, again.restored)
    assert np.array_equal(crops.hr, again.hr)


@pytest.mark.parametrize("kind", ["bicubic", "jpeg", "jpeg75", "mild", "full"])
def test_every_degradation_gives_an_lr_of_the_same_scene(kind: str) -> None:
    hr = photo(np.random.default_rng(1), 128)
    lr = low_resolution(hr, kind, np.random.default_rng(2))
    assert lr.shape == (32, 32, 3)
    reduced = hr.reshape(32, 4, 32, 4, 3).mean(axis=(1, 3))
    assert np.corrcoef(reduced.ravel(), lr.ravel())[0, 1] > 0.8


def test_the_unit_follows_the_residuals(made: tuple[Crops, Path]) -> None:
    """An HR twice as far from the restored picture has a unit about twice as large."""
    crops, _ = made
    picture = torch.from_numpy(crops.restored).permute(0, 3, 1, 2).float()
    hr = torch.from_numpy(crops.hr).permute(0, 3, 1, 2).float()

    def size(factor: float) -> float:
        moved = (picture + factor * (hr - picture)).clamp(0, 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
        enlarged = upsample(to_tensor(*crops.lr), 4, 2**30)
        coarse, seen = (reduced(image, 4) for image in (to_tensor(*crops.restored), enlarged))
        fitted = fit_unit(Crops(crops.lr, crops.restored, moved, crops.kind), 4)
        return float(residual_unit(coarse, seen, fitted).mean())

    assert size(1.0) == pytest.approx(2.0 * size(0.5), rel=0.25)


def test_patches_are_a_function_of_seed_and_step(made: tuple[Crops, Path]) -> None:
    crops, _ = made
    pooled = tensors(crops)
    first = pooled.patches(32, 3, np.random.default_rng(5))
    again = pooled.patches(32, 3, np.random.default_rng(5))
    other = pooled.patches(32, 3, np.random.default_rng(6))
    assert all(torch.equal(mine, same) for mine, same in zip(first, again, strict=True))
    assert not torch.equal(first[2], other[2])
    assert first[0].shape == (3, 3, 32, 32)


def test_the_rate_warms_up_and_falls(made: tuple[Crops, Path]) -> None:
    settings = arguments(made[1], warmup=2, horizon=10)
    rates = [rate_of(step, settings) for step in range(11)]
    assert rates[:3] == [0.0, 0.5, 1.0]
    assert rates[6] == pytest.approx(0.5)
    assert rates[10] == pytest.approx(0.0)


def test_a_stopped_run_continues_to_the_same_weights(made: tuple[Crops, Path], tmp_path: Path) -> None:
    crops, restorer = made
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    train(crops, tmp_path / "whole", arguments(restorer))
    train(crops, tmp_path / "parts", arguments(restorer, steps=2))
    train(crops, tmp_path / "parts", arguments(restorer))
    whole, parts = (RestorerFlow.load(tmp_path / name / "model", 4, torch.device("cpu")) for name in ("whole", "parts"))
    assert whole.digest("policy") == parts.digest("policy")
    fresh = RestorerFlow.new(whole.config, 4, torch.device("cpu"))
    assert whole.digest("policy") != fresh.digest("policy")
