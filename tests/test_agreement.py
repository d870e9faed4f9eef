"""Settings that contradict each other: each is refused when they are read, and who takes the message's way out gets on.

A row is what was changed, what is said, and the way out that the message names.
"""

from pathlib import Path
from typing import Any

import pytest
import yaml

from components.errors import BadInput
from components.settings import load_settings
from tests.drawn import make_photos, tiny_params

Changes = dict[str, Any]

OTHER_BASE: Changes = {
    "backbone": {
        "family": "sd2_controlnet",
        "path": "weights/control",
        "base": "owner/sd2",
        "steps": 2,
        "scale": 4,
        "guidance_scale": 1.0,
        "colour_fix": "none",
    },
}

ROWS: list[tuple[Changes, str, Changes]] = [
    (
        {"run.device": "mps"},
        "run.device is mps, which is not supported here: set it to auto, cpu",
        {"run.device": "auto"},
    ),
    (
        {"train.precision": "fp16"},
        "fp16 needs a GPU, and run.device is cpu: set train.precision to .no.",
        {"train.precision": "no"},
    ),
    (
        {**OTHER_BASE, "backbone.dtype": "float16"},
        "float16 needs a GPU, and run.device is cpu: set backbone.dtype to float32",
        {"backbone.dtype": "float32"},
    ),
    (
        {**OTHER_BASE, "backbone.max_lr_pixels": 100},
        "makes LR images of 16 x 16 px, backbone.max_lr_pixels is 100: lower prepare.crop, or raise the limit",
        {"backbone.max_lr_pixels": 256},
    ),
    (
        {"run.cache": "data/dataset/cache"},
        "run.cache is data/dataset/cache, .* name another folder",
        {"run.cache": "c"},
    ),
    ({"run.cache": "."}, "run.cache is .*name another folder", {"run.cache": "cache"}),
    ({"run.shared_cache": "s3:/x"}, "write s3://bucket/prefix or file:///folder", {"run.shared_cache": "file:///x"}),
    ({"run.shared_cache": "file://x"}, "write file:///folder, with three slashes", {"run.shared_cache": "file:///x"}),
    ({"run.threads": 10**6}, r"run\.threads: Input should be less than or equal to 1024", {"run.threads": 1024}),
    (
        {"prepare.sources": ["."]},
        "names ., and stages write data/dataset: the two must lie apart",
        {"prepare.sources": ["photos"]},
    ),
    ({"prepare.lr_sources": ["cache"]}, "stages write run.cache cache", {"run.cache": "elsewhere"}),
    (
        {"prepare.sources": ["photos", "photos"]},
        "prepare.sources names photos more than once: name it once",
        {"prepare.sources": ["photos"]},
    ),
    (
        {"prepare.pairs": [{"lr": "data", "hr": "photos"}]},
        r"prepare.pairs\[0\].lr names data, and stages write data/dataset: the two must lie apart",
        {"prepare.pairs": [{"lr": "photos", "hr": "photos"}]},
    ),
    (
        {"prepare.pairs": [{"lr": "old", "hr": "photos"}, {"lr": "old", "hr": "photos"}]},
        "prepare.pairs names old with photos more than once: name it once",
        {"prepare.pairs": [{"lr": "old", "hr": "photos"}]},
    ),
    (
        {"prepare.max_pixels": 100},
        "so that no photo can be used: raise it to 4096 at least",
        {"prepare.max_pixels": 4096},
    ),
    (
        {"prepare.crop": 8, "score.held_out": ["psnr_y"], "gate.fidelity": {}},
        "LR images of 2 px a side: raise prepare.crop to 16 at least",
        {"prepare.crop": 16, "score.nr": [], "score.fr": ["psnr"]},
    ),
    (
        {"prepare.crop": 100, "score.nr": ["niqe"], "prepare.scale": 4, "score.fr": ["ms_ssim"]},
        r"metric ms_ssim \(score.fr\) judges pictures of 161 px at least: raise prepare.crop to 164",
        {"prepare.crop": 164},
    ),
    (
        {"prepare.split": {"align": 0.7, "validation": 0.3, "test": 0.0}},
        "split.test is 0, and the evaluation is of it: give it a share",
        {"prepare.split": {"align": 0.4, "validation": 0.3, "test": 0.3}},
    ),
    (
        {"prepare.split": {"align": 0.7, "validation": 0.0, "test": 0.3}},
        "split.validation is 0, .*: give it a share",
        {"prepare.split": {"align": 0.4, "validation": 0.3, "test": 0.3}},
    ),
    (
        {"prepare.split": {"align": 0.0, "validation": 0.5, "test": 0.5}},
        "nothing to train on: give it a share, or name folders in prepare.align_sources",
        {"prepare.align_sources": ["more"]},
    ),
    (
        {"score.fr": ["piqe"], "score.nr": []},
        "score.fr names piqe, which is a metric of kind NR: move it to score.nr",
        {"score.fr": [], "score.nr": ["piqe"]},
    ),
    (
        {"score.nr": ["lr_consistency"]},
        "never beside one: move it to score.held_out",
        {"score.nr": [], "score.held_out": ["lr_consistency"]},
    ),
    (
        {"score.held_out": ["nothing"]},
        "score.held_out: there is no metric 'nothing'; the metrics are: .*ssim",
        {"score.held_out": ["ssim"]},
    ),
    ({"drift.metric": "psnr"}, "drift.metric is psnr, .*: take an NR metric", {"drift.metric": "piqe"}),
    (
        {"pair.filters": ["strength"], "train.objective": "margin"},
        "needs the margin of each pair, .* it is filled by pair.filters strength with margin_scale or pair.filters tra",
        {"pair.filters": [{"kind": "strength", "margin_scale": 0.3}]},
    ),
    (
        {"pair.filters": ["strength"], "train.objective": "soft"},
        "needs the label_noise .* is filled by pair.builder votes or pair.filters strength with soft_below",
        {"pair.filters": [{"kind": "strength", "soft_below": 1.0}]},
    ),
    (
        {"pair.filters": ["transport", {"kind": "strength", "margin_scale": 0.3}], "train.objective": "margin"},
        "transport and strength both fill the margin of each pair, .*, or set margin_scale of the second to 0",
        {"pair.filters": ["transport", {"kind": "strength", "margin_scale": 0.0}]},
    ),
    (
        {"pair.filters": ["transport", {"kind": "strength", "flip_below": -0.5}], "train.objective": "margin"},
        "strength exchanges winners and losers after transport has given them their margins: name strength first",
        {"pair.filters": [{"kind": "strength", "flip_below": -0.5}, "transport"]},
    ),
    (
        {"score.fr": [], "pair.scalariser": {"kind": "win_rate", "realism": 0.0}},
        "rewards fidelity alone, and score.fr is empty: name a metric there, or give realism weight",
        {"pair.scalariser": {"kind": "win_rate", "realism": 0.1}},
    ),
    (
        {"score.nr": [], "pair.scalariser": {"kind": "min_max", "fidelity": 0.0}},
        "rewards realism alone, and score.nr is empty: name a metric there, or give fidelity weight",
        {"pair.scalariser": "min_max"},
    ),
    (
        {"pair.candidates": 1, "pair.builder": "best_vs_worst"},
        "best_vs_worst needs 2 candidates of a group, and 1 are used: raise pair.candidates, or set it to 0",
        {"pair.candidates": 0},
    ),
    (
        {"train.steps": 2, "train.warmup_steps": 5},
        "warmup_steps 5 exceeds train.steps 2, .*: lower train.warmup_steps",
        {"train.warmup_steps": 2},
    ),
    (
        {"train.margin_cap": 0.5, "train.objective": "winners_only", "pair.builder": "winners_only"},
        "has no losers: set it to 0",
        {"train.margin_cap": 0.0},
    ),
    (
        {"train.t_distribution": "sampler", "train.t_max": 0.5},
        r"holds none of the sampler's noise levels \[1.0\]: widen the range",
        {"train.t_max": 1.0},
    ),
    ({"backbone.steps": 1000}, "backbone.steps is 1000: this model takes 1 to 20", {"backbone.steps": 20}),
    ({"train.beta": float("inf")}, r"train\.beta: Input should be a finite number", {"train.beta": 1.0}),
    (
        {"evaluate.peers": ["bicubic", "bicubic"]},
        "evaluate.peers names bicubic more than once",
        {"evaluate.peers": ["bicubic"]},
    ),
    (
        {"evaluate.controls": ["gain", "gain"]},
        "evaluate.controls names gain more than once",
        {"evaluate.controls": ["gain"]},
    ),
    (
        {"generate.splits": ["align", "align"]},
        "generate.splits names align more than once",
        {"generate.splits": ["align"]},
    ),
    ({"register.model_name": "a/b"}, "give a name without / : ' @", {"register.model_name": "a-b"}),
    ({"register.model_name": "-dev"}, "give a name", {"register.model_name": "my-model-dev"}),
    (
        {"register.experiment": " "},
        "register.experiment is empty: name the experiment",
        {"register.experiment": "sr"},
    ),
    (
        {"register.tracking_uri": "mlflow.db"},
        "which is no URI: write sqlite:///FILE",
        {"register.tracking_uri": "sqlite:///mlflow.db"},
    ),
    (
        {"register.tracking_uri": "sqlite://mlflow.db"},
        "write sqlite:///FILE, with three slashes",
        {"register.tracking_uri": "sqlite:///mlflow.db"},
    ),
    (
        {"register.tracking_uri": "http://"},
        r"names no host: .* http\(s\)://HOST",
        {"register.tracking_uri": "http://host"},
    ),
    (
        {"register.webhook": "hooks.slack.com/x"},
        r"no http\(s\) URL",
        {"register.webhook": "https://hooks.slack.com/x"},
    ),
    (
        {"gate.fidelity": {"ssim": {"drop": 0.1, "floor": 1.5}}},
        "no restoration has more than 1: lower it",
        {"gate.fidelity": {"ssim": {"drop": 0.1, "floor": 0.5}}},
    ),
    (
        {"gate.guards": {"grid": {"rise": 0.1, "bound": -1.0}}},
        "grid is never below 0: raise it",
        {"gate.guards": {"grid": {"rise": 0.1, "bound": 14.0}}},
    ),
    (
        {"gate.margins": {"nima": 0.1}},
        "gate.margins names nima, which score.held_out lacks: add it there, or take",
        {"gate.margins": {}},
    ),
    ({"gate.min_photos": 30}, "raise gate.min_images to as many", {"gate.min_images": 30}),
    (
        {"intake.source": "s3://b/in/", "intake.quarantine": "s3://b/in/bad/"},
        "lies within intake.source .*name another prefix",
        {"intake.quarantine": "s3://b/bad/"},
    ),
    (
        {"intake.source": "s3://b/in/", "intake.quarantine": "s3://b/bad/", "prepare.prompt": {"kind": "column"}},
        "prompt.kind is column, and intake.source is s3://b/in/: .*set prepare.prompt.kind to captioner or fixed, or l",
        {"prepare.prompt": {"kind": "fixed"}},
    ),
    (
        {"intake.source": "s3://b/in/", "intake.quarantine": "s3://b/bad/", "prepare.prompt": {"kind": "column"}},
        "or leave intake.source empty",
        {"intake.source": ""},
    ),
    (
        {"intake.source": "/folder", "intake.quarantine": "s3://b/bad/"},
        "intake.source is '/folder': write s3://bucket/prefix/",
        {"intake.source": "s3://b/in/"},
    ),
    ({"drift.sample": 5}, "never a verdict: raise drift.sample", {"drift.sample": 30}),
    ({"monitor.sample": 5}, "ever healthy: raise monitor.sample", {"monitor.sample": 30}),
]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("project")
    make_photos(root)
    return root


def load(root: Path, changes: Changes) -> None:
    values = tiny_params()
    values["train"]["t_distribution"], values["evaluate"]["controls"] = "uniform", []
    for name, value in changes.items():
        block, _, key = name.partition(".")
        if key:
            values[block][key] = value
        else:
            values[block] = dict(value)
    (root / "params.yaml").write_text(yaml.dump(values, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper)))
    load_settings(root / "params.yaml")


@pytest.mark.parametrize(("changes", "message", "way_out"), ROWS, ids=[", ".join(row[0]) for row in ROWS])
def test_who_takes_the_way_out_gets_on(project: Path, changes: Changes, message: str, way_out: Changes) -> None:
    with pytest.raises(BadInput, match=message):
        load(project, changes)
    load(project, {**changes, **way_out})


def test_all_contradictions_are_told_at_once(project: Path) -> None:
    with pytest.raises(BadInput, match=r"has 3 problem\(s\)"):
        load(project, {"run.device": "mps", "train.warmup_steps": 9, "register.experiment": ""})
