"""Bird-SR: both branches by hand, what may not teach, and a training without pairs from its files to its files."""

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from pydantic import ValidationError

from components.artifacts import tables
from components.artifacts.training import TrainingSummary
from components.backbones.base import candidate_noise
from components.backbones.restore import sample
from components.backbones.samplers.last_step import clean_of, restored_with_gradient
from components.backbones.tiny_flow import TinyFlow
from components.metrics.gradients import Gradual
from components.metrics.table import info
from components.report.curves import COMMON_COLUMNS, read_csv, training_charts
from components.settings import BirdSource, Settings, load_settings
from components.train import schedule
from components.train import stage as train
from components.train.batches.rewards import RewardBatch, RewardBatches
from components.train.groups import GroupImages
from tests.made import REPOSITORY, small_params, tiny_model, write_candidates, write_dataset, write_pairs, write_params
from tests.train.rig import SHORT


def brightness(images: torch.Tensor, hr: torch.Tensor | None) -> torch.Tensor:
    return 10.0 * images.mean(dim=(1, 2, 3))


def squared(images: torch.Tensor, hr: torch.Tensor | None) -> torch.Tensor:
    assert hr is not None
    return (images - hr).square().mean(dim=(1, 2, 3))


class Flat(torch.nn.Module):
    """Features that are the picture itself, at two sizes."""

    def maps(self, images: torch.Tensor) -> list[torch.Tensor]:
        return [images, torch.nn.functional.avg_pool2d(images, 2)]


def batches(root: Path, has_hr: bool, model: TinyFlow, **source: Any) -> RewardBatches:
    """Of three LR images, with a reward and a distortion that can be worked out by hand."""
    ids = write_dataset(root, ["align"] * 3 + ["validation"], has_hr=has_hr)
    chosen = {"kind": "bird_sr", "distortion": "psnr"} | source
    settings = write_params(root, train=SHORT | {"groups_per_step": 2, "source": chosen}).train
    images = GroupImages(root, tables.read_rows(root / "data/dataset.parquet", tables.DATASET), [])
    assert isinstance(settings.source, BirdSource)
    made = RewardBatches(
        settings, settings.source, model, dict.fromkeys(ids[:3], has_hr), images, Accelerator(cpu=True)
    )
    made._reward = Gradual(info("rank_effnet"), brightness)
    if has_hr:
        made._distortion = Gradual(info("stlpips"), squared)
    else:
        made._features = Flat()  # type: ignore[assignment]
    return made


def test_the_paired_branch_by_hand(tmp_path: Path) -> None:
    model = tiny_model()
    weights = {"distortion_weight": 2.0, "reward_weight": 0.5, "gamma": 3.0, "margin": 0.25}
    made = batches(tmp_path, True, model, **weights)
    (batch,) = made.of_step(0)
    found = made.loss(model, batch)
    losses = []
    for lr_id, occurrence in batch.images:
        hr, condition = made.images.hr(lr_id), model.condition(made.images.lr(lr_id), ("",))
        t, noise = schedule.draw_noise(made.settings, 0, lr_id, (3, 32, 32), 1, (), occurrence)
        x, _ = model.noised(hr, condition, t, noise)
        clean = x - t.view(-1, 1, 1, 1) * model.predict(x, t, condition, "policy")
        restored = model.decode(model.latents_of(clean, condition), condition)
        noisy = t.item() ** 3.0
        lacking = max(0.0, 10.0 * (hr.mean() - restored.mean()).item() + 0.25)
        distortion = (restored - hr).square().mean().item()
        losses.append(noisy * 2.0 * distortion + (1.0 - noisy) * 0.5 * lacking)
    assert found.loss.item() == pytest.approx(sum(losses) / 2, rel=1e-4)
    row = made.row(found.sums.sum(dim=0).tolist())
    assert row["loss"] == pytest.approx(found.loss.item(), rel=1e-6)
    assert row["images"] == 2.0
    assert set(row) == {"loss", "images", "distortion", "reward", "hr_reward", "active"}


def test_nothing_is_lacking_where_the_reward_is_high_enough_and_the_distortion_none(tmp_path: Path) -> None:
    model = tiny_model()
    made = batches(tmp_path, True, model)
    made._reward = Gradual(info("rank_effnet"), lambda images, hr: images.sum(dim=(1, 2, 3)) * 0.0 + _high(images))
    made._distortion = Gradual(info("stlpips"), lambda images, hr: images.sum(dim=(1, 2, 3)) * 0.0)
    (batch,) = made.of_step(0)
    found = made.loss(model, batch)
    found.loss.backward()
    assert found.loss.item() == 0.0
    assert all(p.grad is None or not p.grad.any() for p in model.policy.parameters())


def _high(images: torch.Tensor) -> torch.Tensor:
    """1 where an image carries a gradient, as a restoration does, and 0 for an HR image."""
    return torch.full((len(images),), float(images.requires_grad))


def test_the_real_branch_by_hand_and_the_same_noise_is_no_difference_at_first(tmp_path: Path) -> None:
    model = tiny_model()
    made = batches(tmp_path, False, model, reward_weight=0.5, structure_weight=4.0, target=100.0)
    (batch,) = made.of_step(0)
    first = made.row(made.loss(model, batch).sums.sum(dim=0).tolist())
    assert first["structure"] == 0.0  # policy and reference are one model still
    assert first["loss"] == pytest.approx(0.5 * (100.0 - first["real_reward"]), rel=1e-5)
    assert set(first) == {"loss", "images", "real_reward", "structure"}
    with torch.no_grad():
        for parameter in model.policy.parameters():
            parameter.mul_(0.9)
    found = made.loss(model, batch)
    second = made.row(found.sums.sum(dim=0).tolist())
    assert second["structure"] > 0.0
    expected = 0.5 * (100.0 - second["real_reward"]) + 4.0 * second["structure"]
    assert found.loss.item() == pytest.approx(expected, rel=1e-5)
    found.loss.backward()
    assert any(parameter.grad is not None and parameter.grad.any() for parameter in model.policy.parameters())
    assert all(parameter.grad is None for parameter in model.reference.parameters())


@pytest.mark.parametrize("steps", [1, 3])
def test_a_roll_outs_gradient_is_its_last_steps_with_the_input_detached(steps: int) -> None:
    model = tiny_model(steps=steps)
    condition = model.condition(torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(2)), ("", ""))
    noise = torch.stack([candidate_noise("lr", index, (3, 32, 32)) for index in range(2)])
    images = restored_with_gradient(model, condition, noise, "policy")
    assert torch.allclose(images, sample(model, condition, noise, "policy").images, atol=1e-5)

    def gradient(value: torch.Tensor) -> torch.Tensor:
        model.policy.zero_grad()
        value.square().mean().backward()
        return torch.cat([p.grad.flatten() for p in model.policy.parameters() if p.grad is not None])

    found = gradient(images)
    with torch.no_grad():
        x = noise * model.config.kappa
        levels = [*model.sampler.levels, 0.0]
        for here, there in pairwise(levels[:-1]):
            x = x + (there - here) * model.predict(x, torch.full((2,), here), condition, "policy")
    t = torch.full((2,), levels[-2])
    clean = clean_of(x, t, model.predict(x, t, condition, "policy"))
    alone = model.decode(model.latents_of(clean, condition), condition)
    assert torch.allclose(found, gradient(alone), rtol=1e-3, atol=1e-7)
    assert not restored_with_gradient(model, condition, noise, "reference").requires_grad


def test_how_a_step_is_divided_changes_nothing(tmp_path: Path) -> None:
    model = tiny_model()
    made = batches(tmp_path, True, model)
    whole = made.loss(model, made.of_step(1)[0]).loss.item()
    parts = [RewardBatch(1, (one,), 2) for one in made.of_step(1)[0].images]
    assert sum(made.loss(model, part).loss.item() for part in parts) == pytest.approx(whole, rel=1e-5)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"source": {"kind": "bird_sr", "reward": "rank_nss"}},
            "reward is rank_nss, which has no gradient",
        ),
        ({"source": {"kind": "bird_sr", "reward": "psnr"}}, "train.source.reward is psnr, a metric of kind FR"),
        (
            {"source": "bird_sr", "winner_stop": 0.1},
            "winner_stop 0.1 is of pairs, and train.source bird_sr has none",
        ),
        ({"source": "bird_sr", "noise": "own"}, "train.noise own is of pairs"),
        ({"source": "birds"}, "source"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, Any], told: str) -> None:
    values = small_params()
    values["train"] |= changes
    with pytest.raises(ValidationError, match=told):
        Settings.model_validate(values)


def test_families_whose_decoder_passes_no_gradient_refuse_it_by_name() -> None:
    values = load_settings(REPOSITORY / "presets/c-flux.yaml").model_dump(by_alias=True)
    values["train"]["source"] = "bird_sr"
    with pytest.raises(ValidationError, match=r"train.source bird_sr is .* backbone.family is flux_controlnet"):
        Settings.model_validate(values)


def test_it_trains_from_files_to_files_and_twice_the_same(tmp_path: Path, tiny_folder: Path) -> None:
    """Both branches with the real metrics; the pairs that the pipeline makes are not looked at."""
    for name in ("first", "second"):
        root = tmp_path / name
        root.mkdir()
        ids = write_dataset(root, ["align"] * 4 + ["validation"])
        write_candidates(root, ids[:4], 2)
        write_pairs(root, ids[:4], 1, 2)
        dataset = tables.read_rows(root / "data/dataset.parquet", tables.DATASET)
        for row in dataset[:2]:
            row["has_hr"] = False
        tables.write_rows(root / "data/dataset.parquet", tables.DATASET, dataset)
        (root / "weights").symlink_to(tiny_folder)
        plan = SHORT | {"source": {"kind": "bird_sr", "distortion": "psnr", "reward_weight": 0.1}, "steps": 3}
        settings = write_params(
            root,
            run={"threads": 1, "device": "cpu"},
            backbone={"path": "weights", "steps": 2},
            score={"fr": ["psnr"], "nr": [], "held_out": []},
            train=plan | {"validation_images": 1, "validation_seeds": 2, "warmup_steps": 0},
        )
        train.run(settings, root)
    first, second = (tmp_path / name / "reports/training.csv" for name in ("first", "second"))
    assert first.read_bytes() == second.read_bytes()
    assert TrainingSummary.read(tmp_path / "first").steps == 3
    table = read_csv(first.read_text(), "training.csv", COMMON_COLUMNS)
    assert set(table) >= {"loss", "distortion", "reward", "hr_reward", "active", "real_reward", "structure"}
    assert all(math.isfinite(value) for value in table["loss"])
    titles = [chart.title for chart in training_charts(table, None)]
    assert titles == ["Loss", "Reward of restorations", "Distortion", "Gradient norm", "Learning rate"]
    folders = (tiny_folder, tmp_path / "first/models/aligned/last")
    base, last = (TinyFlow.load(folder, 2, torch.device("cpu")) for folder in folders)
    assert base.digest("policy") != last.digest("policy")
