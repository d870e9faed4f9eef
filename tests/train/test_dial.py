"""A policy that is told how much realism is wanted: its start, its pairs, and what it does when the dial is turned."""

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from components.artifacts import tables
from components.backbones.base import Condition, candidate_noise
from components.backbones.dial import Dial, preferring
from components.backbones.mixing import source_of
from components.backbones.residual_flow import stored_weights
from components.backbones.restore import restore
from components.backbones.stochastic_branch import CONTEXT, StochasticBranch
from components.backbones.tiny_flow import TinyFlow, saved_digests
from components.errors import BadInput
from components.pair import stage as pair
from components.settings import MixtureSettings, Settings, TinyFlowSettings, load_settings
from components.train import schedule
from components.train import stage as train
from components.train.batches.pairs import PairBatches
from components.train.groups import Group, GroupImages, groups_of
from components.upscale.upscaler import Upscaler
from tests.made import (
    REPOSITORY,
    photo,
    small_params,
    tiny_model,
    write_candidates,
    write_dataset,
    write_pairs,
    write_params,
)
from tests.pair.test_stage import drawn, write_scores
from tests.train.rig import SHORT, trainer

CPU = torch.device("cpu")
PLACES = (0.0, 0.5, 1.0)


def dialled(turned: float = 0.0) -> TinyFlow:
    """A tiny model with a dial, whose second layer is `turned` away from 0."""
    model = tiny_model()
    model.add_dial()
    with torch.no_grad():
        model.policy.dial.second.weight.fill_(turned)
    return model


def inputs(model: TinyFlow) -> tuple[torch.Tensor, torch.Tensor, Condition]:
    generator = torch.Generator().manual_seed(3)
    condition = model.condition(torch.rand(3, 3, 8, 8, generator=generator), ("",) * 3)
    return torch.randn(3, 3, 32, 32, generator=generator), torch.tensor([0.2, 0.5, 1.0]), condition


def test_a_dial_changes_nothing_at_first_and_the_reference_never() -> None:
    model, plain = dialled(), tiny_model()
    x, t, condition = inputs(model)
    told = preferring(condition, torch.tensor([0.0, math.nan, 1.0]))
    assert torch.equal(model.predict(x, t, told, "policy"), plain.predict(x, t, condition, "policy"))
    assert model.digest("reference") == plain.digest("reference") == plain.digest("policy")
    assert model.digest("policy") != model.digest("reference")

    turned = dialled(0.01)
    policy = [turned.predict(x, t, preferring(condition, place), "policy") for place in (0.0, 0.5, 1.0)]
    assert not torch.equal(policy[0], policy[1])
    assert not torch.equal(policy[1], policy[2])
    assert torch.equal(turned.predict(x, t, told, "reference"), plain.predict(x, t, condition, "reference"))
    mixed = turned.predict(x, t, told, "policy")
    assert torch.allclose(mixed[0], policy[0][0], atol=1e-6)  # each row by its own preference
    assert torch.allclose(mixed[1], plain.predict(x, t, condition, "policy")[1], atol=1e-6)  # told none
    assert torch.allclose(mixed[2], policy[2][2], atol=1e-6)


def test_the_embedded_models_branch_takes_one() -> None:
    torch.manual_seed(1)
    network = StochasticBranch((8, 12), (1, 1), 16)
    torch.nn.init.normal_(network.leave.weight)
    for block in network.left[0]:
        torch.nn.init.normal_(block.modulation.weight)
        torch.nn.init.normal_(block.second.weight)
    noisy, context, sigma = torch.randn(2, 3, 8, 8), torch.randn(2, CONTEXT, 8, 8), torch.tensor([0.3, 1.0])
    before = network(noisy, context, sigma)
    network.add_dial()
    place = torch.tensor([0.2, 0.9])
    assert torch.equal(network(noisy, context, sigma, place), before)
    torch.nn.init.normal_(network.dial.second.weight)
    assert not torch.allclose(network(noisy, context, sigma, place), before)
    assert torch.equal(network(noisy, context, sigma, torch.full((2,), math.nan)), before)


def test_its_start_is_the_same_each_time() -> None:
    first, second = Dial(8), Dial(8)
    assert all(torch.equal(first.state_dict()[name], second.state_dict()[name]) for name in first.state_dict())
    assert first.first.weight.abs().min() > 0


def test_it_is_saved_and_loaded_with_the_policy(tmp_path: Path) -> None:
    model, plain = dialled(0.01), tiny_model()
    for name, one in (("dialled", model), ("plain", plain)):
        (tmp_path / name).mkdir()
        one.save(tmp_path / name)
    assert "dial" not in (tmp_path / "plain/config.json").read_text()
    assert {"dial.first.weight", "dial.second.bias"} <= set(stored_weights(tmp_path / "dialled"))
    loaded = tiny_model()
    loaded.load_policy(tmp_path / "dialled")  # a base without one
    assert loaded.digest("policy") == model.digest("policy")
    assert loaded.digest("reference") == plain.digest("reference")
    alone = TinyFlow.load(tmp_path / "dialled", 2, CPU)
    assert alone.has_dial
    settings = TinyFlowSettings(family="tiny_flow", path=tmp_path / "dialled", steps=2, colour_fix="none")
    assert saved_digests(settings)[0] == alone.digest("policy") == model.digest("policy")
    with pytest.raises(BadInput, match="does not fit the model"):
        model.load_policy(tmp_path / "plain")


def test_a_preference_that_nobody_can_hear_is_refused() -> None:
    lr, noise = torch.rand(1, 3, 8, 8), lambda shape: candidate_noise("lr", 0, shape)

    def restored(model: TinyFlow, **mixture: float) -> torch.Tensor:
        source = source_of(MixtureSettings(**mixture))
        (samples,) = restore(model, lr, ("",), [noise], "none", source)
        return samples.images

    with pytest.raises(BadInput, match=r"preference 0\.3 is for a model with a dial.*train one with pair\.dial"):
        restored(tiny_model(), preference=0.3)
    model = dialled(0.02)
    assert torch.equal(restored(model, preference=0.3, strength=0.0), restored(tiny_model()))
    half, whole = restored(model, preference=0.3, strength=0.5), restored(model, preference=0.3)
    assert not torch.equal(half, whole)
    assert not torch.equal(whole, restored(model, preference=0.8))
    asked = MixtureSettings(preference=0.3)
    assert (asked.branch, asked.needs_base, asked.name, asked.passes(4)) == (None, False, "preference 0.3", 4)
    assert MixtureSettings(preference=0.3, strength=0.5).name == "preference 0.3, strength 0.5"
    assert "preference" not in MixtureSettings().model_dump()
    assert source_of(asked).digest(model) != source_of(MixtureSettings(preference=0.4)).digest(model)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"pair": {"dial": [0.5]}}, "needs two places at least"),
        ({"pair": {"dial": [0.0, 0.0]}}, "needs two places at least, each once"),
        ({"pair": {"dial": [0.0, 1.0]}, "score": {"nr": []}}, "score.nr is empty"),
        (
            {"evaluate": {"mixtures": [{"preference": 0.5}]}},
            "preference 0.5 is for a policy with a dial: set pair.dial",
        ),
    ],
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, Any], told: str) -> None:
    values = small_params()
    for block, change in changes.items():
        values[block] |= change
    with pytest.raises(ValidationError, match=told):
        Settings.model_validate(values)


@pytest.mark.parametrize("preset", ["c-sd2", "c-flux"])
def test_families_without_a_place_for_it_refuse_it_by_name(preset: str) -> None:
    values = load_settings(REPOSITORY / f"presets/{preset}.yaml").model_dump(by_alias=True)
    values["pair"]["dial"] = [0.0, 1.0]
    family = values["backbone"]["family"]
    with pytest.raises(
        ValidationError, match=f"pair.dial is for this project's own models, backbone.family is {family}"
    ):
        Settings.model_validate(values)


def test_each_place_has_the_pairs_of_its_own_reward(tmp_path: Path) -> None:
    """What pair writes for a place is what it writes without a dial where the reward has these weights."""
    ids = write_dataset(tmp_path, ["align"] * 3)
    metrics = ["psnr", "rank_nss"]
    write_scores(tmp_path, {lr_id: drawn(seed, metrics) for seed, lr_id in enumerate(ids)}, metrics)
    score = {"fr": ["psnr"], "nr": ["rank_nss"], "held_out": []}

    def paired(**changes: Any) -> tuple[list[tables.Row], list[tables.Row]]:
        pair.run(write_params(tmp_path, score=score, pair={"top": 2} | changes, generate={"candidates": 8}), tmp_path)
        files = (("groups", tables.GROUPS), ("pairs", tables.PAIRS))
        groups, pairs = (tables.read_dialled(tmp_path / f"data/{name}.parquet", schema) for name, schema in files)
        return groups, pairs

    groups, pairs = paired(dial=list(PLACES))
    assert len(pairs) == 3 * 3 * 4
    for place in PLACES:
        scalariser = {"kind": "min_max", "fidelity": 1.0 - place, "realism": place}
        for found, alone in zip((groups, pairs), paired(scalariser=scalariser), strict=True):
            assert [row for row in found if row["preference"] == place] == [
                row | {"preference": place} for row in alone
            ]
            assert {row["preference"] for row in alone} == {None}
    by_name = groups_of(pairs)
    assert list(by_name) == [f"{lr_id} {place}" for lr_id in sorted(ids) for place in PLACES]
    assert {group.preference for group in by_name.values()} == set(PLACES)


def test_a_share_of_the_groups_is_told_no_place() -> None:
    settings = write_train(dial_dropout=0.1)
    told = [schedule.told(settings, step, "lr", 0.25, 0) for step in range(2000)]
    assert set(told) - {0.25} != set()
    assert sum(math.isnan(place or 0.0) for place in told) == pytest.approx(200, abs=60)  # 4 standard deviations
    assert all(place == 0.25 or math.isnan(place or 0.0) for place in told)
    assert schedule.told(settings, 5, "lr", None, 0) is None
    assert {schedule.told(settings, -1 - step, "lr", 0.25, 0) for step in range(200)} == {0.25}


def write_train(**changes: Any) -> Any:
    values = small_params()
    values["train"] |= changes
    return Settings.model_validate(values).train


@pytest.fixture(scope="module")
def brightness(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Group]]:
    """A project, and pairs for two opposite rewards: place 0 wants a group's first candidates, place 1 its last."""
    root = tmp_path_factory.mktemp("dial")
    ids = write_dataset(root, ["align"] * 4 + ["validation"])
    write_candidates(root, ids[:4], 4)
    write_pairs(root, ids[:4], 1, 4)
    ends = {0.0: ((0, 1), (2, 3)), 1.0: ((2, 3), (0, 1))}
    groups = {
        f"{lr_id} {place}": Group(lr_id, (0, 1, 2, 3), winners, losers, (1.0, 1.0), (0.5, 0.5), preference=place)
        for lr_id in sorted(ids[:4])
        for place, (winners, losers) in ends.items()
    }
    return root, groups


class Shaded(GroupImages):
    """Candidates whose brightness grows with their index: -.3, -.1, .1 and .3 about the LR's."""

    def __init__(self, root: Path) -> None:
        files = (("dataset", tables.DATASET), ("candidates", tables.CANDIDATES))
        super().__init__(root, *(tables.read_rows(root / f"data/{name}.parquet", schema) for name, schema in files))

    def candidates(self, lr_id: str, indexes: Sequence[int]) -> torch.Tensor:
        plain = torch.nn.functional.interpolate(self.lr(lr_id), scale_factor=4, mode="bicubic")
        return torch.cat([plain + 0.2 * index - 0.3 for index in indexes])


def test_one_model_goes_from_one_reward_to_the_other_as_the_dial_is_turned(
    brightness: tuple[Path, dict[str, Group]], tmp_path: Path
) -> None:
    """Trained at the ends alone, it is monotone between them too; told none, it lies between the ends."""
    root, groups = brightness
    model = tiny_model(residual_std=0.3)
    model.add_dial()
    plan = {"steps": 40, "learning_rate": 4e-3, "beta": 20.0, "groups_per_step": 4, "micro_batch": 4}
    chosen = trainer(root, str(tmp_path), model, validate_every=100, checkpoint_every=100, **plan)
    images = Shaded(root)
    with pytest.raises(BadInput, match="is of places on a dial, which the policy lacks"):
        PairBatches(chosen.settings, tiny_model(), groups, images, chosen.accelerator)
    chosen.batches = PairBatches(chosen.settings, model, groups, images, chosen.accelerator)
    chosen.run()
    lrs = torch.cat([images.lr(group.lr_id) for group in groups.values()])[::2]
    draws = [lambda shape, number=number: candidate_noise("swept", number, shape) for number in range(len(lrs))]

    def shade(**mixture: float) -> float:
        (samples,) = restore(model, lrs, ("",) * len(lrs), draws, "none", source_of(MixtureSettings(**mixture)))
        return float(samples.images.mean())

    swept = [shade(preference=place) for place in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert all(one < other for one, other in pairwise(swept)), swept
    assert swept[-1] - swept[0] > 0.05
    assert swept[0] < shade() < swept[-1]


def test_from_scores_to_a_picture_with_the_dial(tmp_path: Path, tiny_folder: Path) -> None:
    """pair, train, and a restoration at both ends: the files of each are what the next one takes."""
    ids = write_dataset(tmp_path, ["align"] * 4 + ["validation"], side=64)
    write_candidates(tmp_path, ids[:4], 4, side=64)
    metrics = ["psnr", "rank_nss"]
    write_scores(tmp_path, {lr_id: drawn(seed, metrics, 4) for seed, lr_id in enumerate(ids[:4])}, metrics)
    (tmp_path / "weights").symlink_to(tiny_folder)
    changes: dict[str, Any] = {
        "run": {"threads": 1, "device": "cpu"},
        "backbone": {"path": "weights", "steps": 2},
        "score": {"fr": ["psnr"], "nr": ["rank_nss"], "held_out": []},
        "generate": {"candidates": 4},
        "pair": {"top": 1, "dial": [0.0, 1.0]},
        "train": SHORT | {"learning_rate": 1e-2, "validation_seeds": 2, "held_out_groups": 1},
    }
    settings = write_params(tmp_path, **changes)
    pair.run(settings, tmp_path)
    train.run(settings, tmp_path)
    header = (tmp_path / "reports/validation.csv").read_text().splitlines()[0]
    assert "held_out_pair_accuracy" in header
    last = tmp_path / "models/aligned/last"
    upscaler = Upscaler.load(last, settings.backbone, CPU, base=tmp_path / "weights")
    lr = photo(np.random.default_rng(0), 8)
    ends = [upscaler(lr, 0, mixture=MixtureSettings(preference=place)) for place in (0.0, 1.0)]
    assert not np.array_equal(*ends)
    alone = Upscaler.load(last, settings.backbone, CPU)
    assert np.array_equal(alone(lr, 0, mixture=MixtureSettings(preference=1.0)), ends[1])  # needs no base
