"""A small project in a bare repository and a bucket, and retrainings of it in processes of their own."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from components.storage.s3 import Client, Place
from tests.flows.made import run
from tests.made import REPOSITORY
from tests.promote.gated import noised, save
from tests.services.s3 import picture
from tests.services.servers import Mlflow, Prefect

WITHIN = 900.0
"""Seconds for a run on a busy machine."""


@dataclass
class Remote:
    """A bare repository of a small project, and a bucket with its store and inbox."""

    client: Client
    bucket: str
    path: Path
    server: Prefect
    registry: Mlflow
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def model(self) -> str:
        """The production model of this project alone."""
        return self.bucket.replace("dp2o", "sr")

    @property
    def store(self) -> str:
        return f"s3://{self.bucket}/store"

    @property
    def lease(self) -> Place:
        return Place(self.bucket, "store/dp2o/leases/retrain/")

    def put(self, *numbers: int) -> None:
        for number in numbers:
            body = picture(number, 64, 48)
            self.client.put_object(Bucket=self.bucket, Key=f"in/{number:03d}.png", Body=body)

    def start(self, **given: Any) -> "subprocess.Popen[str]":
        given = {"options": {"store": self.store}, "lease": {"seconds": 20}} | given
        environment = os.environ | self.server.environment | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
        environment |= self.registry.environment()
        script = Path(__file__).with_name("retrain_child.py")
        process = subprocess.Popen(
            [sys.executable, str(script), str(self.path), json.dumps(given)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=self.path.parent,
            env=environment,
        )
        self.started.append(process)
        return process

    def retrain(self, **given: Any) -> dict[str, Any]:
        process = self.start(**given)
        text, _ = process.communicate(timeout=WITHIN)
        assert process.returncode == 0, text
        (line,) = [line for line in text.splitlines() if line.startswith("outcome ")]
        outcome: dict[str, Any] = json.loads(line.removeprefix("outcome "))
        return outcome

    def killed(self, point: str, **given: Any) -> None:
        process = self.start(fatal=point, **given)
        text, _ = process.communicate(timeout=WITHIN)
        assert process.returncode == -signal.SIGKILL, text

    def clone(self, folder: Path) -> Path:
        shutil.rmtree(folder, ignore_errors=True)
        run(folder.parent, "git", "clone", "-q", str(self.path), str(folder))
        return folder

    def subjects(self) -> list[str]:
        return run(self.path, "git", "log", "--format=%s", "main").splitlines()


def push(root: Path, message: str) -> None:
    """Commit everything in a clone, and push it."""
    run(root, "git", "add", "-A")
    run(root, "git", "-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "-qm", message)
    run(root, "git", "push", "-q", "origin", "HEAD:main")


def trainable(root: Path) -> None:
    """Six photos and settings with which every stage takes seconds."""
    for photo in sorted((REPOSITORY / "data/photos").glob("*.jpg"))[:8]:
        shutil.copy(photo, root / "data/photos")
    values = yaml.safe_load((root / "params.yaml").read_text())
    values["prepare"] |= {"crops_per_photo": 1}
    values["generate"] |= {"candidates": 2, "batch": 2}
    values["backbone"] |= {"steps": 2}
    values["score"] |= {"fr": ["gmsd"], "nr": ["rank_nss"], "held_out": ["psnr", "ssim"]}
    values["pair"] |= {"top": 1}
    values["train"] |= {"groups_per_step": 1, "micro_batch": 1, "steps": 1, "validate_every": 1, "warmup_steps": 0}
    values["train"] |= {"validation_images": 2, "validation_seeds": 2}
    values["evaluate"] |= {"seeds": 2, "bootstrap": 100, "peers": ["bicubic"]}
    values["report"] |= {"groups_shown": 1, "sliders_shown": 1}
    (root / "params.yaml").write_text(yaml.safe_dump(values))


def spoilt_base(root: Path) -> None:
    """The base is the embedded model with its weights noised, so that the embedded model itself has gained on it."""
    trainable(root)
    for photo in sorted((REPOSITORY / "data/photos").glob("*.jpg"))[8:24]:
        shutil.copy(photo, root / "data/photos")
    save(noised(0.2, seed=1), root / "components/backbones/weights/tiny_flow")
    values = yaml.safe_load((root / "params.yaml").read_text())
    values["prepare"]["split"] = {"align": 0.3, "validation": 0.2, "test": 0.5}
    values["score"] |= {"fr": ["gmsd", "ssim"], "nr": [], "held_out": ["psnr", "vif"]}
    values["gate"] |= {"policy": "automatic", "seeds": 2, "min_images": 10, "min_photos": 10, "bootstrap": 500}
    values["gate"] |= {"max_latency_ratio": 20.0, "margins": {"vif": 0.03}}
    (root / "params.yaml").write_text(yaml.safe_dump(values))
