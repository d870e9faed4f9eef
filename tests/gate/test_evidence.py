"""Sabotaged and honest challengers of the embedded model, measured on a frozen set for real."""

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from components.artifacts import paths
from components.artifacts.shards import encode_png, write_shard
from components.backbones.tiny_flow import TinyFlow
from components.cost import Cost
from components.errors import BadInput
from components.gate import benchmark
from components.gate.clean import clean
from components.gate.evidence import Bench
from components.gate.gate import Evidence, judge
from components.judge import measure
from components.metrics.base import load
from components.metrics.rank_head import RankMetric
from components.upscale.upscaler import Upscaler
from tests.promote.gated import CPU, SABOTAGE, STEPS, WEIGHTS, Hacked, Project, Sabotaged, make_project, noised


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Project:
    root = tmp_path_factory.mktemp("project")
    shutil.copy(empty_database, root / "mlflow.db")
    return make_project(root)


@dataclass(frozen=True)
class Measured:
    bench: Bench
    frozen: benchmark.FrozenSet
    champion: Evidence

    def verdicts(self, model: TinyFlow, cost: Cost = Cost(1.0, 500.0)) -> dict[str, str]:  # noqa: B008  # frozen
        evidence = self.bench.evidence(self.frozen, Upscaler(model, "none"), cost)
        checks = judge(self.champion, evidence, self.frozen.expected(), self.bench.settings.gate)
        return {check.name: check.verdict for check in checks}


@pytest.fixture(scope="module")
def measured(project: Project) -> Measured:
    """The embedded model as champion, on a frozen set."""
    bench = Bench(project.settings, project.root, CPU)
    frozen = bench.freeze(Upscaler(TinyFlow.load(project.root / "base", STEPS, CPU), "none"))
    good = Upscaler(TinyFlow.load(WEIGHTS, STEPS, CPU), "none")
    return Measured(bench, frozen, bench.evidence(frozen, good, Cost(1.0, 500.0)))


def test_a_saved_model_is_measured_by_workers_alike(
    measured: Measured, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = project.settings.run.model_copy(update={"workers": 2, "cache": tmp_path})
    monkeypatch.setattr(measure, "encode_png", lambda image: pytest.fail("restored in this process"))
    backbone = project.settings.backbone.model_copy(update={"steps": STEPS})
    good = Upscaler.load(WEIGHTS, backbone, CPU)
    with Bench(project.settings.model_copy(update={"run": run}), project.root, CPU) as bench:
        found = bench.evidence(measured.frozen, good, Cost(1.0, 500.0))
        gained = bench.control(measured.frozen, good, "gain", 1.5)
    assert found == measured.champion
    assert gained.keys() == found.rows.keys()
    assert all(gained[key] != found.rows[key]["reward"] for key in gained)


@pytest.mark.parametrize("kind", SABOTAGE)
def test_sabotage_is_refused_by_its_row(measured: Measured, kind: str) -> None:
    spoil, row = SABOTAGE[kind]
    assert measured.verdicts(Sabotaged(kind, spoil))[row] == "no"


def test_clean_images_are_restored_by_both_and_enlarged(measured: Measured, project: Project) -> None:
    asked = project.settings.gate.model_copy(update={"clean": {"psnr": 3.0}})
    settings = project.settings.model_copy(update={"gate": asked})
    good = Upscaler(TinyFlow.load(WEIGHTS, STEPS, CPU), "none")
    spoilt = Upscaler(Sabotaged("saturated", SABOTAGE["saturated"][0]), "none")
    with Bench(settings, project.root, CPU) as bench:
        found = bench.clean(measured.frozen, good, spoilt)
        changed = replace(measured.frozen, pinned="0" * 64)
        assert bench.clean(changed, good, spoilt) is None
    assert found is not None
    assert sorted(found.photos) == sorted({image.photo for image in measured.frozen.expected().images.values()})
    (no,) = clean(asked, found)
    (yes,) = clean(asked, replace(found, challenger=found.champion))
    assert (no.verdict, yes.verdict) == ("no", "yes"), (no, yes)


def test_noised_weights_are_refused(measured: Measured) -> None:
    verdicts = measured.verdicts(noised(0.3, seed=2))
    assert verdicts["reward gain"] == verdicts["fidelity psnr drop"] == "no"
    # Spoilt weights show as a periodic pattern, which NR metrics reward.
    assert verdicts["guard grid rise"] == "no"


def test_a_hacked_reward_gains_and_is_refused(tmp_path: Path) -> None:
    """Every row about the reward says yes: what says no is what the reward does not contain."""
    project = make_project(tmp_path, score={"fr": [], "nr": ["rank_effnet"], "held_out": ["psnr", "vif", "gmsd"]})
    bench = Bench(project.settings, project.root, CPU)
    good = Upscaler(TinyFlow.load(WEIGHTS, STEPS, CPU), "none")
    frozen = bench.freeze(good)
    measured = Measured(bench, frozen, bench.evidence(frozen, good, Cost(1.0, 500.0)))
    metric = load("rank_effnet")
    assert isinstance(metric, RankMetric)
    verdicts = measured.verdicts(Hacked(metric, steps=8))
    assert verdicts["reward gain"] == verdicts["win rate"] == "yes"
    refused = {name for name, verdict in verdicts.items() if verdict == "no"}
    assert {"fidelity psnr drop", "held out gmsd"} <= refused


@pytest.mark.parametrize(
    ("kind", "spoil", "rows"),
    [
        ("slow", lambda images: (time.sleep(1.5), images)[1], {"latency of the champion's", "latency"}),
        ("hungry", lambda images: images + torch.ones(200_000_000).mean() - 1.0, {"memory"}),
    ],
)
def test_what_costs_too_much_is_refused(
    measured: Measured, kind: str, spoil: Callable[[Tensor], Tensor], rows: set[str]
) -> None:
    """Measured, as the gate does it, in turns with the champion."""
    models = [Upscaler(TinyFlow.load(WEIGHTS, STEPS, CPU), "none"), Upscaler(Sabotaged(kind, spoil), "none")]
    before, after = measured.bench.costs(measured.frozen, models)
    champion = replace(measured.champion, seconds=before.seconds, memory_mb=before.memory_mb)
    limits = measured.bench.settings.gate.model_copy(
        update={
            "max_latency_ratio": 1.5,
            "max_seconds": before.seconds + 0.75,
            "max_memory_mb": before.memory_mb + 500.0,
        }
    )
    evidence = replace(champion, seconds=after.seconds, memory_mb=after.memory_mb)
    checks = judge(champion, evidence, measured.frozen.expected(), limits)
    budget = {check.name: check.verdict for check in checks if check.name.startswith(("latency", "memory"))}
    assert rows <= {name for name, verdict in budget.items() if verdict == "no"}, (before, after)


def test_a_metric_that_is_not_as_frozen_is_refused_by_its_name(measured: Measured) -> None:
    frozen = replace(measured.frozen, metrics=measured.frozen.metrics | {"vif": "0" * 64})
    model = Upscaler(TinyFlow.load(WEIGHTS, STEPS, CPU), "none")
    evidence = measured.bench.evidence(frozen, model, Cost(1.0, 500.0))
    assert evidence.rows == {}
    checks = {check.name: check for check in judge(evidence, evidence, frozen.expected(), measured.bench.settings.gate)}
    assert checks["metric digests, challenger"].verdict == "no"
    assert checks["metric digests, challenger"].reason == "not as frozen: vif"


def test_the_champion_does_not_beat_itself(measured: Measured) -> None:
    verdicts = measured.verdicts(TinyFlow.load(WEIGHTS, STEPS, CPU))
    assert {name for name, verdict in verdicts.items() if verdict == "no"} == {"reward gain", "win rate"}


def test_a_changed_set_is_refused_and_not_measured(measured: Measured, project: Project, tmp_path: Path) -> None:
    name = measured.frozen.name
    assert measured.frozen.found == measured.frozen.pinned
    shutil.copytree(project.root / paths.BENCHMARKS / name, tmp_path / paths.BENCHMARKS / name)
    manifest = tmp_path / paths.BENCHMARKS / name / "manifest.json"
    content = json.loads(manifest.read_text())
    bounds = content["normaliser"]["gmsd"]
    manifest.write_text(json.dumps(content | {"normaliser": content["normaliser"] | {"gmsd": [bounds[0], 1.0]}}))
    changed = benchmark.load(tmp_path, name)
    evidence = measured.bench.evidence(changed, Upscaler(TinyFlow.load(WEIGHTS, STEPS, CPU), "none"), Cost(1.0, 1.0))
    assert evidence.rows == {}
    checks = {check.name: check for check in judge(evidence, evidence, changed.expected(), project.settings.gate)}
    assert checks["benchmark set, challenger"].verdict == "no"
    manifest.write_text(json.dumps(content | {"digest": "0" * 64}))
    with pytest.raises(BadInput, match="is of the set 000000000000"):
        benchmark.load(tmp_path, name)


def test_another_picture_in_the_set_shows(measured: Measured, project: Project, tmp_path: Path) -> None:
    name = measured.frozen.name
    shutil.copytree(project.root / paths.BENCHMARKS / name, tmp_path / paths.BENCHMARKS / name)
    members = []
    for number, image in enumerate(measured.frozen.images):
        assert image.hr is not None
        hr = image.hr if number else 255 - image.hr
        members += [(f"{image.lr_id}.lr.png", encode_png(image.lr)), (f"{image.lr_id}.hr.png", encode_png(hr))]
    write_shard(tmp_path / paths.BENCHMARKS / name / "data/dataset/00000.tar", members)
    changed = benchmark.load(tmp_path, name)
    assert changed.pinned == measured.frozen.pinned
    assert changed.found != changed.pinned
