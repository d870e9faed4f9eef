"""The model that restores, by its folder or by its name in the registry."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from components.artifacts import paths
from components.cli.context import Context
from components.errors import BadInput
from components.runtime.process import resolve_device, set_up_process

if TYPE_CHECKING:
    from components.upscale.upscaler import Upscaler

BEST = paths.BEST.as_posix()


def load_model(model: str, context: Context, tile: int, max_pixels: int, base: str, needs_base: bool) -> "Upscaler":
    """A saved folder's model, or a registered one.

    Args:
        model: as typed.
        tile: 0: as suits the model.
        base: where a registered ControlNet's frozen model is; empty: as registered.
        needs_base: whether the base restores too.

    Raises:
        BadInput: there is no such model, it is damaged, or the options do not go with it.
    """
    settings, root = context.project
    set_up_process(settings)
    if model.startswith("models:/"):
        from components.registry.models import load_upscaler  # noqa: PLC0415

        tiling = {"max_pixels": max_pixels} | ({"tile": tile} if tile else {})
        return load_upscaler(settings, root, model, tiling, base)
    if base:
        raise BadInput("--base is for registered models (models:/...); for a folder the settings' backbone.base counts")
    from components.prompts.writer import prompt_writer  # noqa: PLC0415
    from components.upscale.upscaler import Upscaler, default_tiling  # noqa: PLC0415

    backbone, device = settings.backbone.located(root), resolve_device(settings.run.device)
    suited = replace(default_tiling(backbone), max_pixels=max_pixels)
    writer = prompt_writer(settings.prepare.prompt, backbone, root, device)
    folder = root / model if model == BEST else Path(model)  # what is typed is relative to where it is typed
    tiled = replace(suited, tile=tile) if tile else suited
    return Upscaler.load(folder, backbone, device, tiled, writer, backbone.path if needs_base else None)
