"""Validation rewards: fixed noise, a normaliser fixed on the reference, no score silently missing."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from components.artifacts.images import to_tensor
from components.errors import BadInput
from components.metrics.suite import Failure, GroupScores, Suite
from components.train.validation import Validation, ValidationImage
from tests.made import SCALE, photo, tiny_model


def images(count: int = 2) -> list[ValidationImage]:
    generator = np.random.default_rng(0)
    made = []
    for number in range(count):
        hr = photo(generator)
        lr = hr.reshape(hr.shape[0] // SCALE, SCALE, hr.shape[1] // SCALE, SCALE, 3).mean((1, 3)).astype(np.uint8)
        made.append(ValidationImage(f"{number}", to_tensor(lr), to_tensor(hr), ""))
    return made


def validation(names: list[str], seeds: int = 2) -> Validation:
    return Validation(images(), seeds, Suite.load(names), "none")


def test_the_reference_itself_lies_within_its_own_bounds() -> None:
    row = validation(["psnr"], seeds=3).measure(tiny_model())
    assert 0.0 < row["reward"] < 1.0
    assert row.keys() == {"reward", "psnr"}
    assert 0.0 < row["psnr"] < 60.0


def test_rewards_by_hand() -> None:
    """One FR metric: R is where psnr lies between the reference's worst and best candidate."""
    chosen = validation(["psnr"])
    scores: dict[str, Any] = {"reference": [], "policy": []}
    original = Suite.score

    def score(self: Suite, *arguments: Any) -> GroupScores:
        result = original(self, *arguments)
        scores["reference" if len(scores["reference"]) < 2 else "policy"].append(result.values["psnr"])
        return result

    model = tiny_model()
    with torch.no_grad():
        for parameter in model.policy.parameters():
            parameter.mul_(0.9)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Suite, "score", score)
        row = chosen.measure(model)
    reference, policy = np.concatenate(scores["reference"]), np.concatenate(scores["policy"])
    expected = (policy - reference.min()) / (reference.max() - reference.min())
    assert row["reward"] == pytest.approx(expected.mean())
    assert row["psnr"] == pytest.approx(policy.mean())


def test_the_noise_is_fixed_and_the_normaliser_stays() -> None:
    chosen, model = validation(["psnr"]), tiny_model()
    first = chosen.measure(model)
    torch.rand(5)
    assert chosen.measure(model) == first
    assert validation(["psnr"]).measure(tiny_model()) == first
    with torch.no_grad():
        for parameter in model.policy.parameters():
            parameter.mul_(0.5)
    moved = chosen.measure(model)
    assert moved != first
    assert np.sign(moved["reward"] - first["reward"]) == np.sign(moved["psnr"] - first["psnr"])


def test_the_digest_names_the_metrics() -> None:
    assert validation(["psnr"]).metrics_digest == validation(["psnr"], seeds=1).metrics_digest
    assert validation(["psnr"]).metrics_digest != validation(["ssim"]).metrics_digest


def test_a_missing_score_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def failing(self: Suite, candidates: torch.Tensor, *_: Any) -> GroupScores:
        values = np.full(len(candidates), np.nan)
        return GroupScores({"psnr": values}, [Failure(0, "psnr", "not_finite", "nan")])

    monkeypatch.setattr(Suite, "score", failing)
    with pytest.raises(BadInput, match=r"metric psnr gave no score \(not_finite: nan\) on validation image 0"):
        validation(["psnr"]).measure(tiny_model())
