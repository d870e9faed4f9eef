"""The embedded model in onnxruntime against ours in torch, on this machine's CPU: `python -m benchmarks.export`.

Both restore the same pictures with the same noise, one after the other in turn, on one thread, so that what else the
machine does falls on both; of each pair the ratio counts, and the median of the ratios is told. Seconds are of the
process, not of the clock.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import onnxruntime
import torch
from torch import Tensor

from components.backbones.restore import restore
from components.export import onnx_file
from components.export.whole import example, whole_of
from components.settings import load_settings
from components.upscale.upscaler import Upscaler

SIDES = (32, 64, 96, 128)
"""LR px."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5, help="of restorations, of each size")
    parser.add_argument("--sides", type=int, nargs="+", default=SIDES, help="of the LR, px")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    backbone = load_settings(Path("params.yaml")).backbone.located(Path().resolve())
    upscaler = Upscaler.load(backbone.path, backbone, torch.device("cpu"))
    whole = whole_of(upscaler, "onnx")
    with tempfile.TemporaryDirectory() as folder:
        onnx_file.write(whole, Path(folder), {})
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(Path(folder) / onnx_file.NAME), options)
    print("| LR px | torch, s | onnxruntime, s | torch over onnxruntime, median (least to most) |\n|---|---|---|---|")
    for side in arguments.sides:
        lr, noise = example(whole, side, side)
        pairs = []
        for number in range(arguments.pairs):
            # Another picture each time: ours keeps what it saw of an LR.
            seen = (lr + 0.001 * number).clamp(0, 1)
            ours = partial(_restored, upscaler, seen, noise)
            theirs = partial(session.run, ["hr"], {"lr": seen.numpy(), "noise": noise.numpy()})
            pairs.append((_seconds(ours), _seconds(theirs)))
        ratios = [ours / theirs for ours, theirs in pairs]
        first, second = (statistics.median(column) for column in zip(*pairs, strict=True))
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"| {side} x {side} | {first:.2f} | {second:.2f} | {spread} |", flush=True)


def _restored(upscaler: Upscaler, lr: Tensor, noise: Tensor) -> None:
    list(restore(upscaler.backbone, lr, ("",), [lambda shape: noise[0]], upscaler.colour_fix, "policy", block=1))


def _seconds(run: Callable[[], object]) -> float:
    started = time.process_time()
    run()
    return time.process_time() - started


if __name__ == "__main__":
    main()
