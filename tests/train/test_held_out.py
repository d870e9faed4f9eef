"""Photos that are set aside, the share of their pairs that the policy prefers, and the cap on z."""

import csv
from pathlib import Path

import pytest
import torch

from components.entry.main import run_stage
from components.errors import BadInput, ExitCode
from components.settings import load_settings
from components.train.batches.pairs import capped
from components.train.groups import Group
from components.train.held_out import PairAccuracy, evenly, set_aside
from components.train.pairs import PairLosses
from tests.made import tiny_model, write_params
from tests.train.rig import GROUPS, SHORT, trainer, write_project


def groups(*lr_ids: str) -> dict[str, Group]:
    return {lr_id: Group(lr_id, (0, 1), (0,), (1,), (1.0,), (0.5,)) for lr_id in lr_ids}


def test_whole_photos_are_set_aside() -> None:
    """Five groups of three photos; two held out take at least one whole photo more than half of one."""
    photos = {"a": "one", "b": "one", "c": "two", "d": "two", "e": "three"}
    every = groups(*photos)
    assert set_aside(every, photos, 0, 0) == (every, {})
    seen = set()
    for seed in range(20):
        kept, held = set_aside(every, photos, 2, seed)
        assert {**kept, **held} == every
        assert 2 <= len(held) <= 3
        assert {photos[lr_id] for lr_id in kept}.isdisjoint(photos[lr_id] for lr_id in held)
        assert set_aside(every, photos, 2, seed) == (kept, held)
        seen.add(tuple(held))
    assert len(seen) > 1
    with pytest.raises(BadInput, match=r"train\.held_out_groups 5 takes all 5 groups"):
        set_aside(every, photos, 5, 0)
    with pytest.raises(BadInput, match=r"names LR e, which data/dataset\.parquet lacks; run all stages again"):
        set_aside(every, {lr_id: photo for lr_id, photo in photos.items() if lr_id != "e"}, 0, 0)


def test_evenly() -> None:
    assert [group.lr_id for group in evenly(groups(*"abcdefg"), 3)] == ["a", "c", "e"]
    assert len(evenly(groups(*"ab"), 3)) == 2


def test_a_cap_takes_the_gradient_of_pairs_above_it_and_nothing_else() -> None:
    z = torch.tensor([-1.0, 2.0, 3.0], requires_grad=True)
    losses = capped(PairLosses(z**2, z.detach()), 2.0).losses
    assert losses.tolist() == [1.0, 4.0, 9.0]
    losses.sum().backward()
    assert z.grad is not None
    assert z.grad.tolist() == [-2.0, 4.0, 0.0]
    free = PairLosses(z**2, z.detach())
    assert capped(free, 0.0) is free


def test_the_cap_holds_z_down_and_is_logged(project: Path, tmp_path: Path) -> None:
    plan = {"steps": 10, "validate_every": 100, "checkpoint_every": 100}
    free = trainer(project, str(tmp_path / "free"), **plan).run().log
    held = trainer(project, str(tmp_path / "held"), margin_cap=0.5, **plan).run().log
    assert "capped" not in free[0]
    assert held[0]["capped"] == 0.0
    assert max(row["capped"] for row in held) > 0.0
    assert held[-1]["margin"] < free[-1]["margin"]


def test_own_pairs_are_learnt_and_before_training_it_is_a_coin_toss(project: Path, tmp_path: Path) -> None:
    chosen = trainer(project, str(tmp_path), steps=12, validate_every=100, checkpoint_every=100)
    everything = chosen.batches.groups
    kept, held = set_aside(everything, {lr_id: lr_id for lr_id in everything}, 2, seed=0)
    chosen.batches.groups = kept
    measured = PairAccuracy(chosen.batches, evenly(kept, len(held)), list(held.values()))
    assert measured.measure(chosen.backbone) == {"pair_accuracy": 0.5, "held_out_pair_accuracy": 0.5}
    chosen.run()
    after = measured.measure(chosen.backbone)
    assert after == measured.measure(chosen.backbone)
    assert after["pair_accuracy"] > 0.7


def test_what_is_set_aside_is_never_trained_on(project: Path, tmp_path: Path) -> None:
    """Through the stage: validation.csv has both columns, and training sees the other groups alone."""
    write_project(tmp_path)
    (tmp_path / "weights").mkdir()
    tiny_model().save(tmp_path / "weights")
    write_params(
        tmp_path,
        run={"threads": 1, "device": "cpu"},
        backbone={"path": "weights", "steps": 2},
        score={"fr": ["psnr"], "nr": [], "held_out": []},
        train=SHORT | {"steps": 2, "groups_per_step": 4, "held_out_groups": 2},
    )
    assert run_stage("train", tmp_path / "params.yaml") == ExitCode.OK
    rows = list(csv.DictReader((tmp_path / "reports/validation.csv").read_text().splitlines()))
    assert [float(rows[0][name]) for name in ("pair_accuracy", "held_out_pair_accuracy")] == [0.5, 0.5]
    speed = [line.split(",") for line in (tmp_path / "reports/training.csv").read_text().splitlines()]
    assert len(speed) == 3
    write_params(tmp_path, train=SHORT | {"held_out_groups": GROUPS})
    assert run_stage("train", tmp_path / "params.yaml") == ExitCode.BAD_INPUT


def test_winners_alone_have_no_preference_to_measure(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="held_out_groups 3 asks which of a pair the policy prefers"):
        write_params(
            tmp_path, pair={"builder": "winners_only"}, train={"objective": "winners_only", "held_out_groups": 3}
        )
    assert load_settings().train.held_out_groups == 0
