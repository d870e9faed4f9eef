"""A made project: settings, a small dataset, its candidates and their scores, without any stage having run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from torch import Tensor

from components.artifacts import tables
from components.artifacts.shards import encode_png, write_shard
from components.backbones.base import Condition, candidate_seed
from components.backbones.tiny_flow import TinyFlow, TinyFlowConfig
from components.settings import Settings, load_settings
from components.storage import digests

REPOSITORY = Path(__file__).parents[1]
SCALE = 4
SIDE = 32
"""HR side, px."""


def tiny_model(seed: int = 0, steps: int = 2, **config: Any) -> TinyFlow:
    """A TinyFlow with random weights, small enough for a step to take milliseconds."""
    torch.manual_seed(seed)
    return TinyFlow.new(TinyFlowConfig(**{"channels": (16, 16), **config}), steps, torch.device("cpu"))


class LatentFlow(TinyFlow):
    """A TinyFlow with latents apart from its images: half of the pixels' values."""

    stores_latents = True

    def encode(self, images: Tensor) -> Tensor:
        return super().encode(images) / 2

    def decode(self, latents: Tensor, condition: Condition) -> Tensor:
        return super().decode(latents * 2, condition)

    def latents_of(self, residual: Tensor, condition: Condition, gain: float = 1.0) -> Tensor:
        return super().latents_of(residual, condition, gain).clamp(0.0, 1.0) / 2

    def noised(self, latents: Tensor, condition: Condition, t: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        return super().noised(latents * 2, condition, t, noise)


def small_params() -> dict[str, Any]:
    """The repository's params.yaml on the smallest model, trained plainly: no average, no limits, no controls."""
    values: dict[str, Any] = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    path = "components/backbones/weights/tiny_flow"
    values["backbone"] = {"family": "tiny_flow", "path": path, "steps": 6, "colour_fix": "none"}
    values["train"] |= {"t_distribution": "logit_normal", "t_min": 0.15, "ema": 0.0, "limits": {}}
    values["evaluate"] |= {"controls": []}
    values["gate"] |= {"controls": {}, "clean": {}}
    return values


def write_params(root: Path, **blocks: dict[str, Any]) -> Settings:
    """params.yaml below `root`: `small_params`, with the given keys of the given blocks changed."""
    values = small_params()
    for block, changes in blocks.items():
        values[block] |= changes
    (root / "params.yaml").write_text(yaml.safe_dump(values))
    return load_settings(root / "params.yaml")


def photo(generator: np.random.Generator, side: int = SIDE) -> NDArray[np.uint8]:
    """Waves with edges, `[side, side, 3]`."""
    rows, columns = np.indices((side, side)) / side
    waves = [np.sign(np.sin(12 * (rows + slope * columns))) * rows for slope in generator.uniform(-2, 2, 3)]
    return np.rint((0.5 + 0.4 * np.stack(waves, axis=-1)) * 255).astype(np.uint8)


def write_dataset(root: Path, splits: Sequence[str], has_hr: bool = True, side: int = SIDE) -> list[str]:
    """data/dataset of one LR image a split named; their lr_ids, in the order of `splits`."""
    generator = np.random.default_rng(0)
    members, rows = [], []
    for number, split in enumerate(splits):
        hr = photo(generator, side)
        lr = hr.reshape(side // SCALE, SCALE, side // SCALE, SCALE, 3).mean((1, 3)).astype(np.uint8)
        lr_id = digests.of_pixels(lr)
        members.append((f"{lr_id}.lr.png", encode_png(lr)))
        if has_hr:
            members.append((f"{lr_id}.hr.png", encode_png(hr)))
        sizes = {"width": side, "height": side, "lr_width": side // SCALE, "lr_height": side // SCALE, "scale": SCALE}
        source = {"source": f"{number:064x}", "source_name": f"{number}.png", "crop_x": 0, "crop_y": 0}
        texts = {"shard": "00000.tar", "prompt": "", "degradation": ""}
        rows.append({"lr_id": lr_id, "split": split, "has_hr": has_hr} | sizes | source | texts)
    write_shard(root / "data/dataset/00000.tar", members)
    tables.write_rows(root / "data/dataset.parquet", tables.DATASET, rows)
    return [str(row["lr_id"]) for row in rows]


def write_candidates(root: Path, lr_ids: Sequence[str], count: int, side: int = SIDE) -> None:
    """data/candidates: for each LR image, a photo under `count` draws of noise."""
    members, rows = [], []
    for number, lr_id in enumerate(sorted(lr_ids)):
        generator = np.random.default_rng(number)
        clean = photo(generator, side)
        for index in range(count):
            noisy = clean + generator.normal(0, 4 + 2 * index, clean.shape)
            image = np.rint(noisy.clip(0, 255)).astype(np.uint8)
            members.append((f"{lr_id}.{index:03d}.png", encode_png(image)))
            rows.append(
                {
                    "lr_id": lr_id,
                    "index": index,
                    "split": "align",
                    "seed": candidate_seed(lr_id, index),
                    "shard": "00000-of-00001.tar",
                    "image_digest": digests.of_pixels(image),
                    "model_digest": "m",
                    "sampler_digest": "s",
                    "code_version": "1",
                }
            )
    write_shard(root / "data/candidates/00000-of-00001.tar", members)
    tables.write_rows(root / "data/candidates.parquet", tables.CANDIDATES, rows)


def write_pairs(root: Path, lr_ids: Sequence[str], top: int, count: int) -> None:
    """data/pairs.parquet: the first `top` candidates of each LR image win against the last `top`, with uneven weights.

    Groups after the first lose one pair, so that groups differ in their number of pairs.
    """
    rows = []
    for number, lr_id in enumerate(sorted(lr_ids)):
        pairs = [(winner, count - 1 - loser) for winner in range(top) for loser in range(top)]
        for place, (winner, loser) in enumerate(pairs if number == 0 else pairs[1:]):
            w_intra, w_inter = 1.0 + 0.1 * place, 0.75 + 0.125 * number
            weights = {"w_intra": w_intra, "w_inter": w_inter, "weight": w_intra * w_inter}
            unused = {"margin": None, "label_noise": None, "target": None}
            rows.append({"lr_id": lr_id, "winner": winner, "loser": loser, "gap": 0.5} | weights | unused)
    tables.write_rows(root / "data/pairs.parquet", tables.PAIRS, rows)


def ncnn_trunk(folder: Path, blocks: int = 3) -> Path:
    """A restorer as ESRGAN's, small: first convolution, residual blocks, tail; its `.param`, `.bin` beside it."""
    layers = ["Input input 0 1 data", "Convolution first 1 1 data f 0=3 1=3 4=1 5=1 6=81"]
    layers.append("Split s 1 2 f f_0 f_1")
    entering = "f_1"
    for block in range(blocks):
        layers += [
            f"Split s{block} 1 2 {entering} h{block}_0 h{block}_1",
            f"Convolution c{block} 1 1 h{block}_0 c{block} 0=3 1=3 4=1 5=1 6=81 9=2 -23310=1,2.000000e-01",
            f"Eltwise e{block} 2 1 c{block} h{block}_1 h{block} 0=1 -23301=2,2.000000e-01,1.000000e+00",
        ]
        entering = f"h{block}"
    layers += [
        f"Convolution body 1 1 {entering} body 0=3 1=3 4=1 5=1 6=81",
        "BinaryOp skip 2 1 f_0 body sum 0=0",
        "Interp up 1 1 sum wide 0=1 1=4.0e+00 2=4.0e+00",
        "Convolution last 1 1 wide output 0=3 1=3 4=1 5=1 6=81",
    ]
    path = folder / f"trunk{blocks}.param"
    path.write_text("\n".join(["7767517", f"{len(layers)} 0", *layers]) + "\n")
    rng = np.random.default_rng(0)
    kernels = (rng.normal(0.0, 0.25, (3, 3, 3, 3)).astype("<f4") for _ in range(blocks + 3))
    path.with_suffix(".bin").write_bytes(b"".join(bytes(4) + kernel.tobytes() + bytes(12) for kernel in kernels))
    return path


def ncnn_enlarger(folder: Path, scale: int = 4) -> Path:
    """A restorer in ncnn's format that repeats pixels; its `.param`, beside which its `.bin` lies."""
    layers = [
        "Input input 0 1 data",
        "Convolution mix 1 1 data mixed 0=3 1=1 4=0 5=1 6=9",
        f"Interp up 1 1 mixed output 0=1 1={scale:e} 2={scale:e}",
    ]
    path = folder / "enlarger.param"
    path.write_text("\n".join(["7767517", "3 3", *layers]) + "\n")
    kernel, bias = np.eye(3, dtype="<f4"), np.zeros(3, "<f4")
    path.with_suffix(".bin").write_bytes(bytes(4) + kernel.tobytes() + bias.tobytes())
    return path
