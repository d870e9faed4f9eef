"""Random settings of a whole tiny pipeline, and the pipeline: what is drawn is refused at once, or runs to its end."""

import copy
import random
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from components.entry.main import run_stage
from components.errors import BadInput, ExitCode
from components.settings import load_settings
from components.stages import STAGES
from components.stages.preflight import CHECKS
from tests.made import photo, small_params, tiny_model

PHOTOS, SIDE = 5, 64


def make_photos(root: Path, count: int = PHOTOS, real_lr: int = 1) -> None:
    """`count` photos in photos/, some more in more/, and real LR images in old/."""
    generator = np.random.default_rng(0)
    for folder, number, side in (("photos", count, SIDE), ("more", 2, SIDE), ("old", real_lr, SIDE // 2)):
        (root / folder).mkdir(parents=True, exist_ok=True)
        for place in range(number):
            noisy = photo(generator, side) + generator.normal(0, 8, (side, side, 3))
            Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(root / folder / f"{place}.png")
    (root / "base").mkdir()
    tiny_model().save(root / "base")


@cache
def _small_params() -> dict[str, Any]:
    return small_params()


def tiny_params() -> dict[str, Any]:
    """The smallest settings that run through all stages, with metrics that need no weights."""
    values = copy.deepcopy(_small_params())
    values["run"] |= {"device": "cpu", "threads": 1, "workers": 1}
    values["prepare"] |= {"sources": ["photos"], "crop": 64, "min_side": 64, "crops_per_photo": 1}
    values["backbone"] |= {"path": "base", "steps": 1}
    values["generate"] |= {"candidates": 4}
    values["pair"] |= {"top": 2}
    values["score"] |= {"fr": ["psnr"], "nr": ["piqe"], "held_out": ["ssim"]}
    values["train"] |= {"steps": 2, "warmup_steps": 1, "groups_per_step": 2, "micro_batch": 1, "validate_every": 2}
    values["train"] |= {"validation_images": 1, "validation_seeds": 2}
    values["evaluate"] |= {"seeds": 2, "bootstrap": 100, "peers": ["bicubic"], "control_images": 1}
    return values


CHOICES: dict[str, list[Any]] = {
    "run.device": ["auto", "cpu", "mps", "gpu", "cuda:one"],
    "run.cache": ["cache", ".", "data/dataset", "reports/cache", "photos/cache", "elsewhere"],
    "run.shared_cache": ["", "s3:/bucket", "folder", "file://shared", "ftp://host/x"],
    "run.threads": [0, 1, 2, -1, 100000],
    "prepare.sources": [
        ["photos"],
        [],
        ["photos", "more"],
        ["photos", "photos"],
        ["."],
        ["data"],
        ["nowhere"],
        ["data/dataset"],
    ],
    "prepare.align_sources": [[], ["more"], ["photos"], ["old"]],
    "prepare.lr_sources": [[], ["old"], ["photos"], ["more", "old"]],
    "prepare.align_lr_sources": [[], ["old"], ["more"], ["photos"]],
    "prepare.crop": [4, 8, 16, 30, 32, 48, 64, 128],
    "prepare.scale": [1, 2, 3, 4, 8],
    "prepare.crops_per_photo": [1, 2, 5],
    "prepare.split": [
        {"align": align, "validation": validation, "test": round(1.0 - align - validation, 6)}
        for align, validation in (
            (0.55, 0.15),
            (1.0, 0.0),
            (0.0, 0.5),
            (0.5, 0.5),
            (0.5, 0.0),
            (0.98, 0.01),
            (0.2, 0.4),
        )
    ],
    "prepare.min_side": [1, 32, 64, 4096],
    "prepare.max_pixels": [10, 1024, 4095, 4096, 10**8],
    "prepare.lrs_per_shard": [1, 2, 4096],
    "prepare.prompt": [{}, {"kind": "fixed", "text": "a photo"}, {"kind": "column"}, {"kind": "captioner"}],
    "backbone.path": ["base", "nowhere"],
    "backbone.steps": [1, 2, 20, 21, 10**6],
    "backbone.gain": [0.1, 1.0, 1e6, float("inf")],
    "backbone.colour_fix": ["none", "adain", "wavelet"],
    "generate.candidates": [2, 3, 4, 6, 65],
    "generate.batch": [1, 3, 100],
    "generate.shards": [1, 3, 50],
    "generate.splits": [["align"], ["test"], ["align", "validation", "test"], ["align", "align"], []],
    "score.fr": [
        ["psnr"],
        [],
        ["piqe"],
        ["nothing"],
        ["gmsd", "psnr"],
        ["lr_consistency"],
        ["ms_ssim"],
        ["psnr", "psnr"],
    ],
    "score.nr": [["piqe"], [], ["psnr"], ["rank_nss"], ["lr_consistency"], ["niqe"]],
    "score.held_out": [["ssim"], [], ["psnr"], ["lr_consistency"], ["ssim", "gmsd", "nothing"], ["maniqa-pipal"]],
    "score.batch": [1, 100],
    "pair.builder": ["dp2o", "best_vs_worst", "random", "winners_only", "nothing", "no_such.module:ROW"],
    "pair.top": [1, 2, 3, 10],
    "pair.candidates": [0, 1, 2, 3, 5, 64],
    "pair.scalariser": [
        "min_max",
        "win_rate",
        {"kind": "min_max", "fidelity": 0.0},
        {"kind": "min_max", "realism": 0.0},
    ],
    "pair.filters": [[], ["strength"], [{"kind": "strength", "soft_below": 0.5, "margin_scale": 0.5}], ["nothing"]],
    "train.objective": ["dp2o", "soft", "margin", "ipo", "capo", "dmpo", "winners_only", "nothing"],
    "train.beta": [0.0, 1.0, 300.0, float("inf"), float("nan")],
    "train.anchor": [0.0, 0.5],
    "train.margin_cap": [0.0, 0.1],
    "train.held_out_groups": [0, 1, 2, 100],
    "train.noise_shared_by": ["group", "pair"],
    "train.pairs_per_group": [0, 1, 3],
    "train.noise_draws": ["independent", "antithetic"],
    "train.t_draws": ["independent", "stratified", "antithetic"],
    "train.t_proposal": [[], [1.0], [1.0, 0.5], [0.0, 1.0]],
    "train.rounds": [1, 2],
    "train.t_distribution": ["uniform", "logit_normal", "sampler"],
    "train.t_min": [0.0, 0.15, 0.99],
    "train.t_max": [0.1, 0.5, 1.0],
    "train.groups_per_step": [1, 2, 3, 7],
    "train.micro_batch": [1, 2, 3],
    "train.steps": [1, 2, 3],
    "train.warmup_steps": [0, 1, 2, 10],
    "train.ema": [0.0, 0.9, 1.0],
    "train.precision": ["no", "bf16", "fp16"],
    "train.condition_cache_mb": [0, 1],
    "train.checkpoint_every": [1, 2, 100],
    "train.validate_every": [1, 2, 100],
    "train.validation_images": [1, 2, 100],
    "train.validation_seeds": [1, 2],
    "train.limits": [{}, {"psnr": 0.1}, {"ssim": 0.5, "grid": 1.0, "border": 1.0}, {"nothing": 1.0}],
    "evaluate.seeds": [1, 2, 3],
    "evaluate.bootstrap": [1, 100],
    "evaluate.controls": [[], ["gain"], ["steps"], ["gain", "gain"]],
    "evaluate.control_images": [1, 100],
    "evaluate.peers": [[], ["bicubic"], ["bicubic", "bicubic"], ["nothing"]],
    "register.experiment": ["dp2o", "", "  ", "a/b"],
    "register.model_name": ["sr-dev", "sr", "", "-dev", "a/b", "a:b", "it's"],
    "register.tracking_uri": [
        "sqlite:///mlflow.db",
        "mlflow.db",
        "sqlite://x",
        "foo://x",
        "http://",
        "sqlite:///deep/er/mlflow.db",
    ],
    "register.webhook": ["", "hooks.slack.com/x", "https://localhost/x"],
    "report.groups_shown": [1, 100],
    "report.sliders_shown": [1, 100],
    "gate.min_photos": [1, 10, 100],
    "gate.margins": [{}, {"psnr": 0.1}, {"ssim": 0.1}, {"nothing": 0.1}],
    "intake.source": ["", "s3://bucket/in/", "/folder"],
    "drift.metric": ["rank_nss", "psnr", "nothing"],
    "drift.sample": [1, 2000],
    "monitor.pairs": ["", "/folder", "ftp://x"],
}
"""Values that are tried of each setting: usual ones, edges, and such as contradict others."""


def draw(seed: int) -> dict[str, Any]:
    """One to five settings, and their values."""
    generator = random.Random(seed)
    names = generator.sample(sorted(CHOICES), generator.randint(1, 5))
    return {name: copy.deepcopy(generator.choice(CHOICES[name])) for name in names}


def write(root: Path, drawn: dict[str, Any]) -> None:
    """params.yaml below `root` with what was drawn."""
    values = tiny_params()
    for name, value in drawn.items():
        block, key = name.split(".")
        if isinstance(values[block].get(key), dict) and key not in ("limits", "margins", "split"):
            values[block][key] |= value
        else:
            values[block][key] = value
    (root / "params.yaml").write_text(yaml.dump(values, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper)))


def refusal(root: Path) -> str:
    """Why params.yaml is refused when it is read; empty where it is taken."""
    try:
        load_settings(root / "params.yaml")
    except BadInput as error:
        return str(error)
    return ""


def run_through(root: Path) -> tuple[str, ExitCode]:
    """The stage that the pipeline ended with, and how it did."""
    problems = [
        text for checks in CHECKS.values() for one in checks for text in one(load_settings(root / "params.yaml"), root)
    ]
    if problems:
        print("\n".join(problems), file=sys.stderr)
        return "preflight", ExitCode.BAD_INPUT
    for name in STAGES:
        if name == "train" and "accelerate" in sys.modules:  # it keeps the precision of the first training
            sys.modules["accelerate"].state.AcceleratorState._reset_state(reset_partial_state=True)
        code = run_stage(name, root / "params.yaml")
        if code is not ExitCode.OK:
            return name, code
    return name, ExitCode.OK
