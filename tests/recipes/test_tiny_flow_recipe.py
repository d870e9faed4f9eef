"""The base model's recipe on made photos: it learns, and a stopped run continues as if it had not stopped."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from components.backbones.tiny_flow import TinyFlow
from components.settings import load_settings
from recipes import tiny_flow as pretrain
from tests.made import REPOSITORY, photo, tiny_model


def recipe(**changes: Any) -> argparse.Namespace:
    values: dict[str, Any] = {
        "steps": 6,
        "init": None,
        "batch": 2,
        "crop": 32,
        "lr": 1e-3,
        "warmup": 2,
        "kappa": 0.4,
        "shift": 1.0,
        "unshuffle": 4,
        "channels": [16, 16],
        "seed": 0,
        "device": "cpu",
        "checkpoint_every": 3,
    }
    return argparse.Namespace(**values | changes)


@pytest.fixture(scope="module")
def photos() -> list[Any]:
    generator = np.random.default_rng(0)
    return [photo(generator, 136) for _ in range(3)]


def train(photos: list[Any], out: Path, **changes: Any) -> dict[str, torch.Tensor]:
    out.mkdir(exist_ok=True)
    pretrain.train(load_settings(REPOSITORY / "params.yaml"), photos, out, recipe(**changes))
    weights: dict[str, torch.Tensor] = load_file(out / "model/model.safetensors")
    return weights


def test_a_stopped_run_continues_to_the_same_weights(
    tmp_path: Path, photos: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(photos, tmp_path / "whole")
    draw, drawn = torch.rand, []

    def stopping(*arguments: Any, **options: Any) -> Any:
        drawn.append(1)
        if len(drawn) == 5:
            raise KeyboardInterrupt
        return draw(*arguments, **options)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):  # noqa: PT012
        patch.setattr(torch, "rand", stopping)
        train(photos, tmp_path / "stopped")
    assert torch.load(tmp_path / "stopped" / pretrain.CHECKPOINT, weights_only=True)["step"] == 3
    resumed = train(photos, tmp_path / "stopped")
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


def test_the_saved_model_loads_and_has_learnt(tmp_path: Path, photos: list[Any]) -> None:
    train(photos, tmp_path, steps=40, warmup=5, checkpoint_every=40)
    model = TinyFlow.load(tmp_path / "model", 4, torch.device("cpu"))
    assert model.config.channels == (16, 16)
    assert 0.01 < model.config.residual_std < 0.5
    fresh = tiny_model(kappa=0.4, residual_std=model.config.residual_std)
    lr = torch.rand(4, 3, 8, 8, generator=torch.manual_seed(0)) * 0.2 + 0.4
    condition = model.condition(lr, ("",) * 4)
    arguments = (condition.upsampled, condition, torch.full((4,), 0.5), torch.randn(4, 3, 32, 32))
    assert model.error(*arguments, "policy").mean() < fresh.error(*arguments, "policy").mean()
    assert (tmp_path / "model/recipe.json").is_file()


def test_smooth_areas_weigh_more_and_flat_ones_no_more_than_the_floor_allows() -> None:
    """Left half flat, right half a checkerboard of +-0.1: its high-pass energy is 0.01 (24/25)^2 where 5 x 5 fits."""
    board = torch.zeros(1, 3, 40, 80)
    rows, columns = torch.meshgrid(torch.arange(40), torch.arange(40), indexing="ij")
    board[..., 40:] = 0.1 * (1.0 - 2.0 * ((rows + columns) % 2))
    activity = pretrain.activity(board)
    assert activity[0, 0, 20, 10].item() == 0.0
    assert activity[0, 0, 20, 60].item() == pytest.approx(0.01 * (24 / 25) ** 2, rel=1e-4)
    weight = pretrain.smooth_weight(board, mean_activity=0.01)
    assert weight[0, 0, 20, 10].item() == pytest.approx(1 / pretrain.ACTIVITY_FLOOR)
    assert weight[0, 0, 20, 60].item() == pytest.approx(1 / ((24 / 25) ** 2 + pretrain.ACTIVITY_FLOOR), rel=1e-4)
