"""A project to promote in: real photos, a spoilt copy of the embedded model as base, and sabotaged challengers."""

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import torch
import yaml
from PIL import Image
from torch import Tensor

from components.artifacts import tables
from components.artifacts.shards import encode_png, write_shard
from components.backbones.base import Branch, Condition
from components.backbones.tiny_flow import TinyFlow
from components.metrics.rank_head import RankMetric
from components.promote import promotion
from components.register import stage
from components.registry.tracking import tracking_uri
from components.settings import Settings, load_settings
from components.storage import digests
from tests.made import REPOSITORY, small_params
from tests.register.project import evaluated

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
        known = evaluated(digest)
        known.model_copy(update={"digests": known.digests | {"base": base}}).write(self.root)
        stage.run(self.settings, self.root)


def make_project(root: Path, **blocks: dict[str, Any]) -> Project:
    """Twelve photos of the repository, and `small_params` with the given keys of the given blocks changed."""
    values = small_params()
    values["run"] |= {"device": "cpu", "threads": 1}
    values["backbone"] |= {"path": "base", "steps": STEPS, "colour_fix": "none"}
    values["score"] |= {"fr": ["gmsd", "ssim"], "nr": [], "held_out": ["psnr", "vif"], "batch": 16}
    values["register"] = {"experiment": "test", "model_name": "sr-dev", "tracking_uri": "sqlite:///mlflow.db"}
    values["gate"] = {
        "signing": "none",
        "seeds": 2,
        "min_images": 12,
        "min_photos": 12,
        "bootstrap": 500,
        "max_latency_ratio": 20.0,
    }
    # Pictures of 64 px have few windows to average spectra over, so their peaks are higher than those of 128 px.
    values["gate"]["guards"] = {
        "colour_shift": {"rise": 0.5, "bound": 3.0},
        "grid": {"rise": 1.0, "bound": 25.0},
        "border": {"rise": 0.5, "bound": 4.0},
        "clipping": {"rise": 1.5, "bound": 5.0},
    }
    # Twelve pictures give wide intervals: with the usual margins even the honest model could not be shown harmless.
    values["gate"]["margins"] = {"vif": 0.03}
    for block, changes in blocks.items():
        values[block] |= changes
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


def repository(root: Path) -> str:
    """A git repository in `root` with one commit, and a dvc.lock; the commit."""
    (root / "dvc.lock").write_text("schema: '2.0'\nstages: {train: {cmd: train}, register: {cmd: register}}\n")
    for command in (["init", "-q"], ["add", "params.yaml", "dvc.lock"], ["commit", "-q", "-m", "a run"]):
        author = ["-c", "user.name=ada", "-c", "user.email=ada@example.org"]
        subprocess.run(["git", *author, *command], cwd=root, check=True, timeout=300)
    return subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=root, text=True, timeout=300).strip()


class Sabotaged(TinyFlow):
    """The embedded model with its pictures spoilt on the way out."""

    def __init__(self, name: str, spoil: Callable[[Tensor], Tensor]) -> None:
        good = TinyFlow.load(WEIGHTS, STEPS, CPU)
        super().__init__(good.config, good.policy, STEPS, CPU)
        self._name, self._spoil = name, spoil

    def decode(self, latents: Tensor, condition: Condition) -> Tensor:
        return self._spoil(super().decode(latents, condition)).clamp(0.0, 1.0)

    def digest(self, branch: Branch) -> str:
        return digests.of_json([super().digest(branch), self._name])


def lines(images: Tensor) -> Tensor:
    rows, columns = torch.meshgrid(torch.arange(images.shape[2]), torch.arange(images.shape[3]), indexing="ij")
    return images + 8.0 / 255.0 * ((rows % 4 == 0) | (columns % 4 == 0))


def blotches(images: Tensor) -> Tensor:
    """Waves of 16 px: detail by frequency, but none that the LR has; neither mean colour nor edges move."""
    rows, columns = torch.meshgrid(torch.arange(images.shape[2]), torch.arange(images.shape[3]), indexing="ij")
    return images + 12.0 / 255.0 * torch.sin(rows * torch.pi / 8) * torch.sin(columns * torch.pi / 8)


def vivid(images: Tensor) -> Tensor:
    """Colours 1.8 times as far from grey."""
    grey = images.mean(dim=1, keepdim=True)
    return grey + 1.8 * (images - grey)


class Hacked(Sabotaged):
    """Climbs a rewarded metric's own gradient, as a policy that is trained on it for too long comes to do.

    A pixel moves by at most `steps` grey levels.
    """

    def __init__(self, metric: RankMetric, steps: int) -> None:
        super().__init__(f"hacked {metric.info.name} {steps}", self._climb)
        self._metric, self._steps = metric, steps

    def _climb(self, images: Tensor) -> Tensor:
        features, head = self._metric._features, self._metric._head
        for _ in range(self._steps):
            with torch.enable_grad():
                moved = images.detach().clone().requires_grad_()
                score = head(features(moved)).sum()
                (gradient,) = torch.autograd.grad(score, moved)
            images = (moved.detach() + gradient.sign() / 255.0).clamp(0.0, 1.0)
        return images


SABOTAGE: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "colour": (lambda images: images + torch.tensor([8.0, 0.0, -8.0]).view(3, 1, 1) / 255.0, "guard colour_shift"),
    "vivid": (vivid, "guard colour_shift rise"),
    "blotches": (blotches, "fidelity lr_consistency drop"),
    "grid": (lines, "guard grid rise"),
    "saturated": (lambda images: (images - 0.5) * 1.6 + 0.5, "guard clipping"),
    "bottom": (lambda images: torch.cat([images[:, :, :-8], images[:, :, -8:] + 0.1], dim=2), "guard border rise"),
    "one answer": (lambda images: images.mean(dim=0, keepdim=True).expand_as(images), "diversity of the champion's"),
}
