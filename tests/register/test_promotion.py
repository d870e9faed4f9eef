"""Sabotaged and honest challengers of the embedded model, measured, gated and promoted for real."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch import Tensor
from typer.testing import CliRunner

from components.artifacts import digests, tables
from components.artifacts.shards import encode_png, write_shard
from components.backbones.base import Branch, Condition, Samples
from components.backbones.tiny_flow import TinyFlow
from components.cli import app
from components.errors import BadInput
from components.register import benchmark, ledger, promotion, stage
from components.register.budget import Cost
from components.register.evidence import Bench
from components.register.gate import Evidence, judge
from components.register.tracking import tracking_uri
from components.register.transaction import Reached
from components.register.versions import CHAMPION, alias_version
from components.settings import Settings, load_settings
from components.upscale.upscaler import Upscaler
from tests.made import REPOSITORY
from tests.register.conftest import evaluation
from tests.register.test_transaction import killed_at

SIDE, SCALE, STEPS, PHOTOS = 64, 4, 2, 12
WEIGHTS = REPOSITORY / "components/backbones/weights/tiny_flow"
CPU = torch.device("cpu")
ADA = promotion.Approval("ada")


def noised(amount: float, seed: int) -> TinyFlow:
    """The embedded model with its weights off by `amount` of their size."""
    model = TinyFlow.load(WEIGHTS, STEPS, CPU)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.policy.parameters():
            weight.mul_(1.0 + amount * torch.randn(weight.shape, generator=generator))
    return model


def save(model: TinyFlow, folder: Path) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    model.save(folder)
    return model.digest("policy")


@dataclass(frozen=True)
class Project:
    """A project whose base model is a spoilt copy of the embedded model: the latter is an honest improvement."""

    root: Path
    settings: Settings

    def client(self) -> mlflow.MlflowClient:
        mlflow.set_tracking_uri(tracking_uri(self.settings.register_, self.root))
        return mlflow.MlflowClient()

    def register(self, model: TinyFlow) -> None:
        digest = save(model, self.root / "models/aligned/best")
        base = TinyFlow.load(self.root / "base", STEPS, CPU).digest("policy")
        figures = evaluation(digest)
        figures["digests"]["base"] = base
        (self.root / "reports/evaluation.json").write_text(json.dumps(figures))
        stage.run(self.settings, self.root)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Project:
    root = tmp_path_factory.mktemp("project")
    shutil.copy(empty_database, root / "mlflow.db")
    values: dict[str, Any] = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    values["run"] |= {"device": "cpu", "threads": 1}
    values["backbone"] |= {"path": "base", "steps": STEPS, "colour_fix": "none"}
    values["score"] |= {"fr": ["gmsd", "ssim"], "nr": [], "held_out": ["psnr", "vif"], "batch": 16}
    values["register"] = {"experiment": "test", "model_name": "sr-dev", "tracking_uri": "sqlite:///mlflow.db"}
    values["gate"] = {"seeds": 2, "min_images": 12, "min_photos": 12, "bootstrap": 500, "max_latency_ratio": 20.0}
    # Pictures of 64 px have few windows to average spectra over, so their peaks are higher than those of 128 px.
    values["gate"]["guards"] = {
        "colour_shift": {"rise": 0.5, "bound": 3.0},
        "grid": {"rise": 1.0, "bound": 25.0},
        "border": {"rise": 0.5, "bound": 4.0},
        "clipping": {"rise": 1.5, "bound": 5.0},
    }
    # Twelve pictures give wide intervals: with the usual margins even the honest model could not be shown harmless.
    values["gate"]["margins"] = {"vif": 0.03}
    (root / "params.yaml").write_text(yaml.safe_dump(values))
    (root / "reports").mkdir()
    save(noised(0.2, seed=1), root / "base")
    members, rows = [], []
    for photo in sorted((REPOSITORY / "data/photos").glob("*.jpg"))[:PHOTOS]:
        with Image.open(photo) as opened:
            whole = np.asarray(opened.convert("RGB"))
        top, left = whole.shape[0] // 2 - SIDE // 2, whole.shape[1] // 2 - SIDE // 2
        hr = np.ascontiguousarray(whole[top : top + SIDE, left : left + SIDE])
        lr = np.asarray(Image.fromarray(hr).resize((SIDE // SCALE,) * 2, Image.Resampling.BICUBIC))
        lr_id = digests.of_pixels(lr)
        members += [(f"{lr_id}.lr.png", encode_png(lr)), (f"{lr_id}.hr.png", encode_png(hr))]
        row = {"lr_id": lr_id, "split": "test", "source": digests.of_bytes(photo.name.encode()), "has_hr": True}
        row |= {"source_name": photo.name, "crop_x": left, "crop_y": top, "width": SIDE, "height": SIDE}
        row |= {"lr_width": SIDE // SCALE, "lr_height": SIDE // SCALE, "scale": SCALE, "shard": "00000.tar"}
        rows.append(row | {"prompt": "", "degradation": "{}"})
    write_shard(root / "data/dataset/00000.tar", members)
    tables.write_rows(root / "data/dataset.parquet", tables.DATASET, rows)
    return Project(root, load_settings(root / "params.yaml"))


class Sabotaged(TinyFlow):
    """The embedded model with its pictures spoilt on the way out."""

    def __init__(self, name: str, spoil: Callable[[Tensor], Tensor]) -> None:
        good = TinyFlow.load(WEIGHTS, STEPS, CPU)
        super().__init__(good.config, good.policy, STEPS, CPU)
        self._name, self._spoil = name, spoil

    def sample(self, condition: Condition, noise: Tensor, branch: Branch = "policy") -> Samples:
        return Samples(self._spoil(super().sample(condition, noise, branch).images).clamp(0.0, 1.0), None)

    def digest(self, branch: Branch) -> str:
        return digests.of_json([super().digest(branch), self._name])


def lines(images: Tensor) -> Tensor:
    rows, columns = torch.meshgrid(torch.arange(images.shape[2]), torch.arange(images.shape[3]), indexing="ij")
    return images + 8.0 / 255.0 * ((rows % 4 == 0) | (columns % 4 == 0))


SABOTAGE: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "colour": (lambda images: images + torch.tensor([8.0, 0.0, -8.0]).view(3, 1, 1) / 255.0, "guard colour_shift"),
    "grid": (lines, "guard grid rise"),
    "saturated": (lambda images: (images - 0.5) * 1.6 + 0.5, "guard clipping"),
    "bottom": (lambda images: torch.cat([images[:, :, :-8], images[:, :, -8:] + 0.1], dim=2), "guard border rise"),
    "one answer": (lambda images: images.mean(dim=0, keepdim=True).expand_as(images), "diversity of the champion's"),
}


@dataclass(frozen=True)
class Measured:
    bench: Bench
    frozen: benchmark.FrozenSet
    champion: Evidence

    def verdicts(self, model: TinyFlow) -> dict[str, str]:
        evidence = self.bench.evidence(self.frozen, Upscaler(model, "none"), Cost(1.0, 500.0))
        checks = judge(self.champion, evidence, self.frozen.expected(), self.bench.settings.gate)
        return {check.name: check.verdict for check in checks}


@pytest.fixture(scope="module")
def measured(project: Project) -> Measured:
    """The embedded model as champion, on a frozen set."""
    bench = Bench.load(project.settings, project.root, CPU)
    frozen = bench.freeze(Upscaler(TinyFlow.load(project.root / "base", STEPS, CPU), "none"))
    good = Upscaler(TinyFlow.load(WEIGHTS, STEPS, CPU), "none")
    return Measured(bench, frozen, bench.evidence(frozen, good, Cost(1.0, 500.0)))


@pytest.mark.parametrize("kind", SABOTAGE)
def test_sabotage_is_refused_by_its_row(measured: Measured, kind: str) -> None:
    spoil, row = SABOTAGE[kind]
    assert measured.verdicts(Sabotaged(kind, spoil))[row] == "no"


def test_noised_weights_are_refused(measured: Measured) -> None:
    verdicts = measured.verdicts(noised(0.3, seed=2))
    assert verdicts["reward gain"] == verdicts["fidelity psnr drop"] == "no"
    # Spoilt weights show as a periodic pattern, which NR metrics reward.
    assert verdicts["guard grid rise"] == "no"


def test_the_champion_does_not_beat_itself(measured: Measured) -> None:
    verdicts = measured.verdicts(TinyFlow.load(WEIGHTS, STEPS, CPU))
    assert {name for name, verdict in verdicts.items() if verdict == "no"} == {"reward gain", "win rate"}


def test_a_changed_set_is_refused_and_not_measured(measured: Measured, project: Project, tmp_path: Path) -> None:
    name = measured.frozen.name
    assert measured.frozen.found == measured.frozen.pinned
    shutil.copytree(project.root / benchmark.FOLDER / name, tmp_path / benchmark.FOLDER / name)
    manifest = tmp_path / benchmark.FOLDER / name / "manifest.json"
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
    shutil.copytree(project.root / benchmark.FOLDER / name, tmp_path / benchmark.FOLDER / name)
    members = []
    for number, image in enumerate(measured.frozen.images):
        assert image.hr is not None
        hr = image.hr if number else 255 - image.hr
        members += [(f"{image.lr_id}.lr.png", encode_png(image.lr)), (f"{image.lr_id}.hr.png", encode_png(hr))]
    write_shard(tmp_path / benchmark.FOLDER / name / "data/dataset/00000.tar", members)
    changed = benchmark.load(tmp_path, name)
    assert changed.pinned == measured.frozen.pinned
    assert changed.found != changed.pinned


def test_from_the_first_model_to_a_refusal_and_back(measured: Measured, project: Project) -> None:
    params = ["--params", str(project.root / "params.yaml")]
    project.register(TinyFlow.load(WEIGHTS, STEPS, CPU))
    waiting = CliRunner().invoke(app, ["promote", *params])
    assert waiting.exit_code == 3, waiting.output
    assert "waits: approve with" in waiting.stdout
    client = project.client()
    assert alias_version(client, "sr-dev", "challenger") == 1
    assert alias_version(client, "sr", CHAMPION) is None

    def cut_off(point: str) -> None:
        def promote(reached: Reached) -> object:
            return promotion.promote(project.settings, project.root, approval=ADA, reached=reached)

        killed_at(point, promote, mlflow.get_tracking_uri())

    for point in ("judged", "challenger set"):
        cut_off(point)
        assert alias_version(client, "sr", CHAMPION) is None
    done = CliRunner().invoke(app, ["promote", "--approved-by", "ada", "--json", *params])
    assert done.exit_code == 0, done.output
    outcome = json.loads(done.stdout)
    assert (outcome["decision"], outcome["model"], outcome["version"]) == ("promoted", "sr", 1)
    assert outcome["report"]["champion"] == "base model"
    assert alias_version(client, "sr", CHAMPION) == 1
    assert alias_version(client, "sr-dev", "challenger") is None
    tags = client.get_model_version("sr", "1").tags
    assert json.loads(tags["dp2o.gate"])["passed"] is True
    assert tags["dp2o.parent"].startswith("base ")
    assert set(tags) >= {f"dp2o.{name}" for name in ("model", "git_commit", "dvc_lock", "dataset", "metrics")}
    assert promotion.promote(project.settings, project.root).decision == "already champion"

    project.register(noised(0.3, seed=2))
    refused = promotion.promote(project.settings, project.root, approval=ADA)
    assert refused.decision == "refused"
    assert "checks said no, first reward gain" in refused.text
    assert alias_version(client, "sr", CHAMPION) == 1
    assert json.loads((project.root / "reports/gate.json").read_text())["passed"] is False
    assert client.get_model_version("sr-dev", "2").tags["dp2o.gate_verdict"] == "refused"

    told = CliRunner().invoke(app, ["history", "--json", *params])
    kinds = [record["content"]["kind"] for record in json.loads(told.stdout)["records"]]
    assert kinds == ["promote", "refuse"]
    nowhere = CliRunner().invoke(app, ["rollback", "--by", "ada", *params])
    assert nowhere.exit_code == 2
    assert "no earlier champion" in nowhere.stderr
    assert len(ledger.read(client, "sr").records) == 2
