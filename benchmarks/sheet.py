"""The first picture of README: `python -m benchmarks.sheet docs/pictures/demo.png`, after the demo.

A row an image of the test split, chosen by rule: the largest, the median and the smallest gain in reward of the aligned
model over the base. LR, Real-ESRGAN with the LR's colours, base, aligned, HR, each twice enlarged; the first seed.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from components.artifacts import tables
from components.artifacts.shards import ShardFolder, ShardReader
from components.report.choices import by_gain, mean_by_image

MODELS = ("realesrgan_fixed", "base", "aligned")
TITLES = ("LR", "Real-ESRGAN", "base", "aligned", "HR")
ENLARGED, MARGIN = 2, 28


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", type=Path)
    parser.add_argument("--project", type=Path, default=Path())
    arguments = parser.parse_args()
    root: Path = arguments.project
    _, rows = tables.read_any(root / "reports/evaluation.parquet")
    base, aligned = (mean_by_image(rows, model) for model in ("base", "aligned"))
    order = by_gain({lr_id: aligned[lr_id] - base[lr_id] for lr_id in base.keys() & aligned.keys()})
    chosen = [order[0], order[len(order) // 2], order[-1]]
    dataset = {row["lr_id"]: row for row in tables.read_rows(root / "data/dataset.parquet", tables.DATASET)}
    inputs, restored = ShardFolder(root / "data/dataset"), ShardReader(root / "data/evaluation/images.tar")
    lines = []
    for lr_id in chosen:
        shard = inputs[dataset[lr_id]["shard"]]
        hr, lr = shard.image(f"{lr_id}.hr.png"), shard.image(f"{lr_id}.lr.png")
        repeated = np.kron(lr, np.ones((hr.shape[0] // lr.shape[0], hr.shape[1] // lr.shape[1], 1), np.uint8))
        lines.append(np.hstack([repeated, *(restored.image(f"{lr_id}.{model}.000.png") for model in MODELS), hr]))
    sheet = Image.fromarray(np.vstack(lines))
    sheet = sheet.resize((sheet.width * ENLARGED, sheet.height * ENLARGED), Image.Resampling.NEAREST)
    titled = Image.new("RGB", (sheet.width, sheet.height + MARGIN), "white")
    titled.paste(sheet, (0, MARGIN))
    draw = ImageDraw.Draw(titled)
    for place, title in enumerate(TITLES):
        draw.text((place * sheet.width // len(TITLES) + 8, 8), title, fill="black")
    arguments.target.parent.mkdir(parents=True, exist_ok=True)
    titled.save(arguments.target, optimize=True)


if __name__ == "__main__":
    main()
