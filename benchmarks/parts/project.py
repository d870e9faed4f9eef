"""A throw-away project with committed photos, whose stages run as users run them: by the command line."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.parts import model
from components.errors import BadInput
from components.photos.reading import SUFFIXES

CHECKOUT = Path(__file__).resolve().parents[2]
ERROR_LINES = 15


@dataclass(frozen=True)
class Cost:
    """What one stage's process took.

    Attributes:
        wall, cpu: seconds, start-up and imports included.
        peak_mb: largest resident memory, MiB.
        log: what it wrote to standard error.
    """

    wall: float
    cpu: float
    peak_mb: float
    log: str


class Project:
    """Folder with params.yaml, photos/base (split into validation and test) and photos/align (all for training)."""

    def __init__(self, root: Path, weights: Path | None, held_out_photos: int, changes: Mapping[str, Any]) -> None:
        self.root = root
        self._photos = sorted(path for path in (CHECKOUT / "data/photos").iterdir() if path.suffix.lower() in SUFFIXES)
        self._used = 0
        for folder in ("photos/base", "photos/align", "base"):
            (root / folder).mkdir(parents=True)
        self._take(root / "photos/base", held_out_photos)
        if weights is None:
            model.backbone(None, steps=1).save(root / "base")
        values = yaml.safe_load((CHECKOUT / "params.yaml").read_text())
        # Speed is measured on the smallest family: it is all network, and has no restorer that dominates an LR.
        values["backbone"] = {"family": "tiny_flow", "path": "", "steps": 6, "colour_fix": "none"}
        values["evaluate"]["controls"] = []
        values["gate"]["controls"] = {}
        values["prepare"] |= {
            "sources": ["photos/base"],
            "align_sources": ["photos/align"],
            "crops_per_photo": 1,
            "split": {"align": 0.0, "validation": 0.5, "test": 0.5},
        }
        values["backbone"]["path"] = str(weights.resolve() if weights else root / "base")
        for name, block in changes.items():
            values[name] |= block
        (root / "params.yaml").write_text(yaml.safe_dump(values))

    def add_lrs(self, count: int) -> Cost:
        """Add photos to the align split, one LR each, and prepare, whose cost is returned.

        Raises:
            BadInput: there are not so many photos.
        """
        self._take(self.root / "photos/align", count)
        return self.run("prepare")

    def run(self, stage: str) -> Cost:
        """`python -m components.<stage>` in a process of its own.

        Raises:
            BadInput: the stage failed; the end of its log is in the message.
        """
        out = self.root / "cost.json"
        command = [sys.executable, "-m", f"components.{stage}", "--params", str(self.root / "params.yaml")]
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.child", str(out), *command],
            cwd=CHECKOUT,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "true"},
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            check=False,
        )
        if done.returncode:
            tail = "\n".join(done.stderr.splitlines()[-ERROR_LINES:])
            raise BadInput(f"stage {stage} of the benchmark's project failed with exit code {done.returncode}:\n{tail}")
        return Cost(**json.loads(out.read_text()), log=done.stderr)

    def _take(self, folder: Path, count: int) -> None:
        if self._used + count > len(self._photos):
            raise BadInput(
                f"the benchmark wants {self._used + count} photos and data/photos has {len(self._photos)}: "
                "give smaller numbers of LR images"
            )
        for path in self._photos[self._used : self._used + count]:
            shutil.copy(path, folder)
        self._used += count
