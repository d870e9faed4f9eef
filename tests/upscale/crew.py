"""What workers load in tests of many pictures: a module of its own, as each of them imports it."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

import torch

from components.settings import TinyFlowSettings
from components.upscale.carried import Pixels
from components.upscale.choice import Rated
from components.upscale.request import Request
from components.upscale.upscaler import Upscaler

DEADLY, HUNGRY = 9, 10
"""Widths of photos, px."""


@dataclass(frozen=True)
class Risky(Request):
    """Like a request, but for photos of two widths: one kills the process, one asks for more memory than there is."""

    def __call__(self, lr: Pixels, progress: bool = False) -> tuple[Pixels, list[Rated]]:
        if lr.shape[1] == DEADLY:
            os.kill(os.getpid(), signal.SIGKILL)
        if lr.shape[1] == HUNGRY:
            torch.empty(2**60, dtype=torch.uint8)
        assert torch.get_num_threads() == 1
        return super().__call__(lr, progress)


def risky(model_folder: Path, seed: int) -> Risky:
    settings = TinyFlowSettings(family="tiny_flow", path=model_folder, steps=2, colour_fix="none")
    return Risky(Upscaler.load(model_folder, settings, torch.device("cpu")), range(seed, seed + 1))
