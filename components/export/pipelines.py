"""A diffusers folder: the base's parts with the trained control branch, as the stock pipeline loads them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.backbones.controlnet.pretrained import read_model
from components.errors import BadInput
from components.settings import BackboneSettings
from components.storage import hub

PIPELINES = {
    "sd2_controlnet": ("StableDiffusionControlNetPipeline", "ControlNetModel"),
    "sd3_controlnet": ("StableDiffusion3ControlNetPipeline", "SD3ControlNetModel"),
    "flux_controlnet": ("FluxControlNetPipeline", "FluxControlNetModel"),
}
"""By family: the stock pipeline, and the class of its control branch."""


def check(settings: BackboneSettings) -> None:
    """Refuse a model that no stock pipeline has a place for.

    Raises:
        BadInput: with the way out.
    """
    if settings.family not in PIPELINES:
        raise BadInput(
            f"--format diffusers is for ControlNets ({', '.join(PIPELINES)}), and this model is of the family "
            f"{settings.family}, which no pipeline of diffusers runs: take --format onnx or torchscript for this "
            "project's own models; a family of your own leaves as the folder that its `save` writes"
        )


def write(settings: BackboneSettings, folder: Path) -> dict[str, Any]:
    """Write the whole pipeline into an existing folder; what is known of it, for the card.

    The trained branch is stored as diffusers names it, an adapter merged into it. Frozen parts have the precision of
    backbone.dtype.

    Args:
        settings: located; `path` is the trained branch's folder.

    Raises:
        BadInput: the base or the branch is missing or damaged.
    """
    import diffusers  # noqa: PLC0415  # takes seconds
    import torch  # noqa: PLC0415

    assert settings.base_model is not None  # all of PIPELINES have one
    pipeline_name, branch_name = PIPELINES[settings.family]
    base = hub.folder(settings.base_model, "backbone.base", pipeline=True)
    dtype = getattr(torch, settings.frozen_dtype)
    branch = read_model(getattr(diffusers, branch_name), settings.path, "--model", torch.float32)
    try:
        pipeline = getattr(diffusers, pipeline_name).from_pretrained(
            str(base),
            controlnet=branch.to(dtype),
            torch_dtype=dtype,
            local_files_only=True,
            **_without_checker(settings),
        )
    except (OSError, ValueError) as error:
        raise BadInput(
            f"backbone.base {base} makes no {pipeline_name} ({error}): it must be a whole pipeline in diffusers' format"
        ) from error
    if settings.family == "sd2_controlnet":  # the sampler that the branch was trained and judged with
        pipeline.scheduler = diffusers.DDPMScheduler.from_config(pipeline.scheduler.config)
    pipeline.save_pretrained(folder)
    return {"pipeline": pipeline_name, "steps": settings.steps, "call": _call(settings)}


def _without_checker(settings: BackboneSettings) -> Mapping[str, Any]:
    """A safety checker is no part of the model, and may be missing from the base."""
    return {"safety_checker": None, "requires_safety_checker": False} if settings.family == "sd2_controlnet" else {}


def _call(settings: BackboneSettings) -> dict[str, Any]:
    """Arguments of the pipeline that sample as the settings do, beside the prompt and the picture."""
    values = settings.model_dump()
    call = {"num_inference_steps": settings.steps, "controlnet_conditioning_scale": values["conditioning_scale"]}
    for name in ("guidance_scale", "negative_prompt", "max_sequence_length"):
        if name in values:
            call[name] = values[name]
    return call | ({"guidance_scale": values["guidance"]} if "guidance" in values else {})
