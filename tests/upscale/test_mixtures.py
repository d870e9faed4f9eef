"""A picture nearer to the base or beyond the aligned model, the best of several, and the comparison of them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from components.artifacts.images import to_tensor
from components.backbones.tiny_flow import TinyFlow, TinyFlowConfig
from components.errors import BadInput
from components.metrics.suite import Suite
from components.settings import MixtureSettings, TinyFlowSettings
from components.upscale import choice
from components.upscale.choice import best_of
from components.upscale.comparison import GUTTER, side_by_side
from components.upscale.upscaler import Tiling, Upscaler
from tests.upscale.conftest import photo

CPU = torch.device("cpu")
SAMPLING = TinyFlowSettings(family="tiny_flow", path=Path("unused"), steps=2, colour_fix="none")
Picture = NDArray[np.uint8]


@pytest.fixture(scope="module")
def aligned_folder(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What was trained from `model_folder`."""
    model = TinyFlow.load(model_folder, 2, CPU)
    with torch.no_grad():
        for weight in model.policy.parameters():
            weight.mul_(0.8)
    folder = tmp_path_factory.mktemp("aligned")
    model.save(folder)
    return folder


@pytest.fixture
def both(model_folder: Path, aligned_folder: Path) -> Upscaler:
    return Upscaler.load(aligned_folder, SAMPLING, CPU, Tiling(64, 32), base=model_folder)


def test_strength_runs_from_the_base_over_the_aligned_model(
    both: Upscaler, model_folder: Path, aligned_folder: Path
) -> None:
    lr = photo(40, 80)  # two tiles
    base, aligned = (Upscaler.load(folder, SAMPLING, CPU, Tiling(64, 32)) for folder in (model_folder, aligned_folder))
    made = {strength: both(lr, 1, mixture=MixtureSettings(strength=strength)) for strength in (0.0, 0.5, 1.0, 1.5)}
    assert np.array_equal(made[0.0], base(lr, 1))
    assert np.array_equal(made[1.0], aligned(lr, 1))
    assert np.array_equal(both(lr, 1), aligned(lr, 1))
    assert both.digest == aligned.digest
    distances = [np.abs(picture.astype(float) - made[0.0]).mean() for picture in made.values()]
    assert distances == sorted(set(distances))


def test_without_a_base_a_mixture_is_refused_by_name(aligned_folder: Path) -> None:
    alone = Upscaler.load(aligned_folder, SAMPLING, CPU)
    with pytest.raises(BadInput, match=r"strength 0.5 mixes .* stored without it: set register.reference"):
        alone(photo(8, 8), 0, mixture=MixtureSettings(strength=0.5))
    assert np.array_equal(alone(photo(8, 8), 0, mixture=MixtureSettings()), alone(photo(8, 8), 0))


def test_another_base_than_its_own_is_refused(aligned_folder: Path, tmp_path: Path) -> None:
    """Of the same shapes, so that its weights would load, and with another noise."""
    other = TinyFlow.new(TinyFlowConfig(channels=(16, 16), kappa=0.9), 2, CPU)
    other.save(tmp_path)
    with pytest.raises(BadInput, match="was not trained from the one in"):
        Upscaler.load(aligned_folder, SAMPLING, CPU, base=tmp_path)


def noisy(lr: Picture, levels: dict[int, float]) -> Callable[[int], Picture]:
    """A restorer whose seeds differ in how noisy they are: `lr_consistency` and `piqe` alike prefer the quiet one."""

    def restore(seed: int) -> Picture:
        noise = np.random.default_rng(seed).normal(0.0, levels[seed], (4 * lr.shape[0], 4 * lr.shape[1], 3))
        return np.rint(lr.repeat(4, axis=0).repeat(4, axis=1) + noise).clip(0, 255).astype(np.uint8)

    return restore


@pytest.mark.parametrize("window", [512, 64])
def test_the_best_seed_is_kept_with_its_scores(monkeypatch: pytest.MonkeyPatch, window: int) -> None:
    monkeypatch.setattr(choice, "WINDOW", window)
    lr = photo(40, 32)
    restore, suite = noisy(lr, {5: 40.0, 6: 4.0, 7: 90.0}), Suite.load(["lr_consistency", "piqe"])
    picture, rated = best_of(restore, lr, [5, 6, 7], suite)
    assert np.array_equal(picture, restore(6))
    assert [one.seed for one in rated] == [6, 5, 7]
    assert (rated[0].reward, rated[-1].reward) == (1.0, 0.0)
    if window == 512:
        own = suite.score(to_tensor(restore(6)), None, to_tensor(lr)).values
        assert rated[0].scores == {name: pytest.approx(float(values[0])) for name, values in own.items()}


def test_equal_seeds_keep_the_first() -> None:
    lr = photo(16, 16)
    same = noisy(lr, {5: 9.0})(5)
    _, rated = best_of(lambda seed: same, lr, [3, 4], Suite.load(["lr_consistency", "piqe"]))
    assert [(one.seed, one.reward) for one in rated] == [(3, 0.5), (4, 0.5)]


def test_what_a_metric_cannot_judge_is_said() -> None:
    lr = photo(1, 1)
    with pytest.raises(BadInput, match="piqe"):
        best_of(noisy(lr, {0: 1.0, 1: 2.0}), lr, [0, 1], Suite.load(["lr_consistency", "piqe"]))


def test_the_comparison_shows_lr_base_and_result() -> None:
    lr = photo(6, 5)
    base, restored = (np.full((24, 20, 3), value, np.uint8) for value in (10, 200))
    sheet = side_by_side(lr, base, restored)
    assert sheet.shape == (24, 60 + 2 * GUTTER, 3)
    assert (sheet[:, 20 : 20 + GUTTER] == 255).all()
    assert (sheet[:, 20 + GUTTER : 40 + GUTTER] == 10).all()
    assert (sheet[:, 40 + 2 * GUTTER :] == 200).all()
    assert np.abs(sheet[:, :20].astype(float).mean((0, 1)) - lr.mean((0, 1))).max() < 3
