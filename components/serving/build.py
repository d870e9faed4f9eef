"""An upscaler from a folder of weights and the plain settings that were stored with them: no code, nothing pickled."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from components.errors import BadInput
from components.prompts.writer import prompt_writer
from components.runtime.process import resolve_device
from components.settings import BackboneSettings, PromptSettings, stored_backbone
from components.upscale.upscaler import Tiling, Upscaler

REFERENCE = "reference"
"""Folder beside the weights, with those that they were trained from, where register.reference asks for it."""

BASE = "backbone.base"
"""How errors about a base model begin."""

BASE_MODEL_HINT = (
    "Say where the base model is on this machine: `dp2o upscale --base FOLDER_OR_HUB_MODEL`, or "
    'mlflow.pyfunc.load_model(..., model_config={"base": FOLDER_OR_HUB_MODEL})'
)


class ServedConfig(BaseModel):
    """What is stored beside the weights, and may be overridden where they are loaded.

    Attributes:
        backbone: how it is sampled, without its path.
        base: where a frozen base model is on this machine; empty: as registered.
        digest: of all the weights that restore; empty: not known.
        prompt: what writes the prompt of a picture that comes without one.
        device: as `run.device` of params.yaml.
        tile, overlap, max_pixels: as of `Tiling`.
    """

    model_config = ConfigDict(frozen=True)

    backbone: dict[str, Any]
    base: str
    digest: str = ""
    prompt: PromptSettings
    device: str
    tile: int
    overlap: int
    max_pixels: int


def upscaler_of(folder: Path, stored: Mapping[str, Any]) -> Upscaler:
    """The weights in `folder`, sampled as `stored` says; see `ServedConfig`.

    Raises:
        BadInput: the settings are not what this project stores; the weights are damaged, or not those that were
            registered; or the frozen base model of a ControlNet is not where it was, or is another one.
    """
    try:
        config = ServedConfig.model_validate(dict(stored))
        base = {"base": config.base} if config.base else {}
        settings: BackboneSettings = stored_backbone(config.backbone | base | {"path": folder})
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise BadInput(
            f"the settings of the registered model cannot be read ({place}: {first['msg']}): it was changed, or "
            "registered by another version of this project; register it again"
        ) from error
    device = resolve_device(config.device)
    writer = prompt_writer(config.prompt, settings, Path(), device)
    tiling = Tiling(config.tile, config.overlap, config.max_pixels)
    try:
        reference = folder / REFERENCE
        base_folder = reference if reference.is_dir() else None
        upscaler = Upscaler.load(folder, settings, device, tiling, writer, base_folder)
    except BadInput as error:
        if settings.base_model is None or not str(error).startswith(BASE):
            raise
        raise BadInput(
            f"this version holds a ControlNet, not the {settings.family.removesuffix('_controlnet')} model it "
            f"leads, which was {config.backbone['base']} when it was registered and was looked for at "
            f"{settings.base_model}: {error}. {BASE_MODEL_HINT}"
        ) from error
    if config.digest and upscaler.digest != config.digest:
        raise BadInput(
            f"the weights are not those that were registered ({upscaler.digest[:12]} for {config.digest[:12]}): "
            f"{settings.base_model or folder} is another model, or was changed. {BASE_MODEL_HINT}"
        )
    return upscaler
