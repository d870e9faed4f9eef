"""README.md of an exported folder, in the format of the Hugging Face hub: YAML that its search reads, then text."""

import json
from collections.abc import Mapping
from typing import Any

import yaml

from components.artifacts.evaluation import Difference, Evaluation
from components.settings import BackboneSettings
from components.storage.hub import is_hub

LICENCES = {
    "restorer_flow": ("other", "apache-2.0-and-bsd-3-clause"),
    "tiny_flow": ("apache-2.0", ""),
}
"""Of this project's own models: the branch Apache-2.0, the restorer in it BSD-3-Clause."""
PAPER = "https://arxiv.org/abs/2510.18851"
LIBRARIES = {"onnx": "onnx", "torchscript": "pytorch", "diffusers": "diffusers"}

ONNX = """```python
import numpy as np
import onnxruntime
from PIL import Image

session = onnxruntime.InferenceSession("{file}")
lr = np.asarray(Image.open("photo.png").convert("RGB"), np.float32).transpose(2, 0, 1)[None] / 255
noise = np.random.default_rng(0).standard_normal((1, 3, {n}lr.shape[2], {n}lr.shape[3]), np.float32)
(hr,) = session.run(["hr"], {{"lr": lr, "noise": noise}})
Image.fromarray((hr[0].transpose(1, 2, 0) * 255).round().astype(np.uint8)).save("large.png")
```"""
TORCHSCRIPT = """```python
import torch

model = torch.jit.load("{file}")
hr = model(lr, torch.randn(1, 3, {n}lr.shape[2], {n}lr.shape[3]))  # lr: [1, 3, h, w] in [0, 1]
```"""
DIFFUSERS = """```python
import torch
from diffusers import {pipeline}
from PIL import Image

pipeline = {pipeline}.from_pretrained(".")
lr = Image.open("photo.png").convert("RGB")
large = lr.resize(({scale} * lr.width, {scale} * lr.height), Image.BICUBIC)
call = {call}
pipeline("", {image}=large, generator=torch.manual_seed(0), **call).images[0].save("large.png")
```"""


def card(
    settings: BackboneSettings,
    form: str,
    written: Mapping[str, Any],
    facts: Mapping[str, Any],
    evaluation: Evaluation | None,
    licence: str,
) -> str:
    """The whole file.

    Args:
        form: onnx, torchscript or diffusers.
        written: what the export says of itself.
        facts: what the file says of the model.
        evaluation: of this very model; None where it is not known.
        licence: the hub's name of a licence; empty: this project's own, or `other` where the base has one of its own.
    """
    front = yaml.safe_dump(_front(settings, form, facts, evaluation, licence), sort_keys=False, allow_unicode=True)
    title = f"# {facts['name']}: super-resolution ×{facts['scale']}"
    about = (
        f"A {settings.family} model of a training system for DP²O ([Wu et al., NeurIPS 2025]({PAPER})): "
        f"{facts['steps']} steps a picture, colour fix {facts['colour_fix']}, weights `{facts['model_digest'][:12]}`. "
        "Another noise gives another plausible restoration. Detail is generated: it is not evidence of what the "
        "photographed thing looked like."
    )
    parts = [f"---\n{front}---", title, about, "## Use", _use(form, written, facts), *_figures(evaluation)]
    return "\n\n".join(parts) + "\n"


def _front(
    settings: BackboneSettings, form: str, facts: Mapping[str, Any], evaluation: Evaluation | None, licence: str
) -> dict[str, Any]:
    known, name = (licence, "") if licence else LICENCES.get(settings.family, ("other", "that-of-the-base-model"))
    front: dict[str, Any] = {"license": known} | ({"license_name": name} if name else {})
    base = settings.base_model
    if base is not None and is_hub(base):
        front["base_model"] = str(base).partition("://")[2].lstrip("/").partition("@")[0] or str(base)
    front |= {
        "library_name": LIBRARIES[form],
        "pipeline_tag": "image-to-image",
        "tags": ["super-resolution", "image-super-resolution", "preference-alignment", "dp2o-sr"],
    }
    if evaluation is not None:
        front["model-index"] = [{"name": facts["name"], "results": [_results(evaluation, facts)]}]
    return front


def _results(evaluation: Evaluation, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Means over the test images, as the hub's leaderboards read them."""
    metrics = [
        {"type": name, "name": name, "value": round(row.aligned, 6)} for name, row in evaluation.measures.items()
    ]
    return {
        "task": {"type": "image-to-image", "name": f"Super-resolution ×{facts['scale']}"},
        "dataset": {"type": "own", "name": f"{evaluation.images} test images of {evaluation.photos} photos"},
        "metrics": metrics,
    }


def _use(form: str, written: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    if form == "diffusers":
        image = "image" if written["pipeline"] == "StableDiffusionControlNetPipeline" else "control_image"
        call = json.dumps(written["call"])
        return DIFFUSERS.format(pipeline=written["pipeline"], scale=facts["scale"], call=call, image=image)
    times = "" if facts["noise_scale"] == 1 else f"{facts['noise_scale']} * "
    if form == "torchscript":
        return TORCHSCRIPT.format(file=written["file"], n=times)
    return (
        f"{ONNX.format(file=written['file'], n=times)}\n\nOpset {written['opset']}. Height and width are open, one "
        f"picture a call. In onnxruntime it differs from the model by {written['difference']:.1g} at most, of 1. "
        "Memory grows with the picture: cut large ones into overlapping tiles of about 256 px."
    )


def _figures(evaluation: Evaluation | None) -> list[str]:
    if evaluation is None:
        return ["No evaluation of these weights is known."]
    rows = [_row(name, row) for name, row in evaluation.measures.items()]
    return [
        "## Figures",
        f"{evaluation.images} test images of {evaluation.photos} photos, {evaluation.seeds} seeds an image; base is "
        f"the model before the alignment, {evaluation.confidence:.0%} bootstrap intervals, clustered by photo.",
        "\n".join(["| | base | aligned | difference | better | rewarded |", "|---|---|---|---|---|---|", *rows]),
    ]


def _row(name: str, row: Difference) -> str:
    better, rewarded = "higher" if row.higher_is_better else "lower", "yes" if row.in_reward else "no"
    difference = f"{row.difference:+.4f} [{row.ci_low:+.4f}, {row.ci_high:+.4f}]"
    return f"| {name} | {row.base:.4f} | {row.aligned:.4f} | {difference} | {better} | {rewarded} |"
