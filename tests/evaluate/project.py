"""A small project folder as the stages before evaluate leave it: six photos' crops, a base and an aligned model."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from skimage import data

from components.artifacts import tables
from components.artifacts.shards import encode_png, write_shard
from components.backbones.tiny_flow import TinyFlow, TinyFlowConfig
from components.settings import Settings
from components.storage import digests
from tests.made import small_params

SIDE, SCALE, STEPS = 64, 4, 2


def settings(**blocks: dict[str, object]) -> Settings:
    """`small_params` with metrics that need no weights, few seeds, and `blocks` on top of it."""
    values = small_params()
    values["score"] |= {"fr": ["gmsd"], "nr": ["piqe"], "held_out": ["psnr", "ssim"]}
    values["backbone"] |= {"path": "base", "steps": STEPS}
    values["evaluate"] |= {"seeds": 3, "bootstrap": 200, "peers": ["bicubic"]}
    for name, block in blocks.items():
        values[name] |= block
    return Settings.model_validate(values)


def build(root: Path, real_lr: bool = False) -> Path:
    """Write dataset and models below `root`; with `real_lr`, the last image has no HR."""
    rows, members = [], []
    for number, (source, hr) in enumerate(_crops()):
        lr = np.asarray(Image.fromarray(hr).resize((SIDE // SCALE,) * 2, Image.Resampling.BICUBIC))
        lr_id, has_hr = digests.of_pixels(lr), not (real_lr and number == 5)
        members.append((f"{lr_id}.lr.png", encode_png(lr)))
        if has_hr:
            members.append((f"{lr_id}.hr.png", encode_png(hr)))
        rows.append(
            {
                "lr_id": lr_id,
                "split": "align" if number < 2 else "test",
                "source": digests.of_bytes(source.encode()),
                "source_name": f"{source}.png",
                "crop_x": 0,
                "crop_y": 0,
                "width": SIDE,
                "height": SIDE,
                "lr_width": SIDE // SCALE,
                "lr_height": SIDE // SCALE,
                "scale": SCALE,
                "has_hr": has_hr,
                "shard": "00000.tar",
                "prompt": "",
                "degradation": "{}" if has_hr else "",
            }
        )
    write_shard(root / "data/dataset/00000.tar", members)
    tables.write_rows(root / "data/dataset.parquet", tables.DATASET, rows)
    torch.manual_seed(0)
    model = TinyFlow.new(TinyFlowConfig(channels=(16, 16)), STEPS, torch.device("cpu"))
    save(model, root / "base")
    with torch.no_grad():
        for weight in model.policy.parameters():
            weight.mul_(0.8)
    save(model, root / "models/aligned/best")
    return root


def save(model: TinyFlow, folder: Path) -> None:
    folder.mkdir(parents=True)
    model.save(folder)


def _crops() -> list[tuple[str, NDArray[np.uint8]]]:
    """Two crops each of three photos, `[SIDE, SIDE, 3]`."""
    crops = []
    for name, photo in (("chelsea", data.chelsea()), ("coffee", data.coffee()), ("astronaut", data.astronaut())):
        for x in (100, 180):
            crops.append((name, np.ascontiguousarray(photo[100 : 100 + SIDE, x : x + SIDE])))
    return crops
