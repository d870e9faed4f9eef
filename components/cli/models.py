"""Restore a photo, and look at registered versions."""

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from components.artifacts import paths
from components.cli.context import MODELS, PARAMS, AsJson, Context, Params, command, examples, print_json, show
from components.errors import BadInput
from components.process import resolve_device, set_up_process

if TYPE_CHECKING:
    from components.upscale.upscaler import Upscaler

commands = typer.Typer()
versions = typer.Typer(no_args_is_help=True, help="Registered model versions.")
commands.add_typer(versions, name="models", rich_help_panel=MODELS)

BEST = paths.BEST.as_posix()


@commands.command(
    rich_help_panel=MODELS,
    epilog=examples(
        "dp2o upscale photo.jpg -o large.png",
        "dp2o upscale photo.jpg --seed 7   (another plausible restoration, to photo-x4.png)",
        "dp2o upscale photo.jpg --model models:/dp2o-sr-tiny-flow@champion --json",
    ),
)
def upscale(
    photo: Annotated[Path, typer.Argument(help="JPEG, PNG, WebP or TIFF of any size.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="PNG, JPEG, WebP or TIFF; default: <photo>-x<scale>.png beside it."),
    ] = None,
    model: Annotated[
        str,
        typer.Option(help="Folder of a saved model, or a registered one: models:/name@alias, models:/name/version."),
    ] = BEST,
    seed: Annotated[int, typer.Option(min=0, help="Of the noise: the same picture and seed give the same result.")] = 0,
    tile: Annotated[
        int,
        typer.Option(
            help="Larger pictures are restored in tiles of this side, LR px; memory grows with its square. "
            "0: as suits the model."
        ),
    ] = 0,
    max_pixels: Annotated[int, typer.Option(min=1, help="Refuse larger pictures, LR px.")] = 4_000_000,
    prompt: Annotated[
        str | None, typer.Option(help="What the picture shows, for a text-to-image model; default: as in training.")
    ] = None,
    base: Annotated[
        str,
        typer.Option(help="Where a registered ControlNet's frozen model is here: folder or hf://owner/name@revision."),
    ] = "",
    force: Annotated[bool, typer.Option("--force", help="Overwrite the output.")] = False,
    params: Params = PARAMS,
    as_json: AsJson = False,
) -> None:
    """Restore one photo at the model's scale, four times its width and height by default."""
    from components.upscale.picture import check_output, check_size, read_picture, write_picture  # noqa: PLC0415

    with command("upscale", params) as context:
        if output:
            check_output(output, force)
        picture = read_picture(photo, max_pixels)
        upscaler = _upscaler(model, context, tile, max_pixels, base)
        # Only the model knows its factor: a registered one may have another than the project's.
        target = output or photo.with_name(f"{photo.stem}-x{upscaler.backbone.scale}.png")
        check_output(target, force)
        height, width = picture.shape[:2]
        check_size(target, width * upscaler.backbone.scale, height * upscaler.backbone.scale)
        started = time.monotonic()
        restored = upscaler(picture, seed, progress=True, prompt=prompt)
        seconds = time.monotonic() - started
        write_picture(target, restored)
    done = {
        "input": str(photo),
        "output": str(target),
        "width": restored.shape[1],
        "height": restored.shape[0],
        "model": model,
        "model_digest": upscaler.digest,
        "seed": seed,
        "seconds": round(seconds, 3),
    }
    size = f"{width} x {height} -> {done['width']} x {done['height']} px"
    text = f"{target}: {size}, model {model} ({upscaler.digest[:12]}), seed {seed}, {seconds:.1f} s"
    show(as_json, done, text)


def _upscaler(model: str, context: Context, tile: int, max_pixels: int, base: str) -> "Upscaler":
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
    return Upscaler.load(folder, backbone, device, replace(suited, tile=tile) if tile else suited, writer)


@versions.command("list", epilog=examples("dp2o models list", "dp2o models list --json | jq -r '.[0].version'"))
def list_models(params: Params = PARAMS, as_json: AsJson = False) -> None:
    """Registered versions, newest first, with their aliases and figures."""
    with command("models list", params) as context:
        from components.registry.models import list_versions  # noqa: PLC0415

        found = list_versions(*context.registry)
    if as_json:
        print_json([version.as_json() for version in found])
        return
    if not found:
        print("no model is registered yet; `dp2o run` or `dp2o register` does it")
    for version in found:
        aliases = " ".join(f"@{alias}" for alias in version.aliases)
        print(f"{version.model} {version.version} {aliases}\n    {version.headline}")


@versions.command(
    "show",
    epilog=examples(
        "dp2o models show   (the candidate of this project)",
        "dp2o models show dp2o-sr-tiny-flow-dev/3",
        "dp2o models show dp2o-sr-tiny-flow@champion --json",
    ),
)
def show_model(
    version_uri: Annotated[
        str | None, typer.Argument(help="name@alias or name/version; default: the settings' model, alias candidate.")
    ] = None,
    params: Params = PARAMS,
    as_json: AsJson = False,
) -> None:
    """Model card of one version: figures with confidence intervals, and what it was made of."""
    with command("models show", params) as context:
        from components.registry.models import show_version  # noqa: PLC0415
        from components.registry.versions import CANDIDATE  # noqa: PLC0415

        version, card = show_version(
            *context.registry, version_uri or f"{context.settings.register_.model_name}@{CANDIDATE}"
        )
    aliases = " ".join(f"@{alias}" for alias in version.aliases) or "no alias"
    text = f"version {version.version} ({aliases}), run {version.run_id}\n\n{card}"
    show(as_json, version.as_json() | {"card": card}, text)


@commands.command(
    rich_help_panel=MODELS,
    epilog=examples(
        "dp2o lineage models:/dp2o-sr-restorer-flow@champion",
        "dp2o lineage dp2o-sr-restorer-flow-dev/3 --json | jq '.steps[].stage'",
    ),
)
def lineage(
    version_uri: Annotated[str, typer.Argument(help="name@alias or name/version, with or without models:/.")],
    params: Params = PARAMS,
    as_json: AsJson = False,
) -> None:
    """Where a version comes from: alias, gate, weights, pairs, scores, candidates, LR, photos, with their digests."""
    with command("lineage", params) as context:
        from components.registry.trace import as_text, trace  # noqa: PLC0415

        found = trace(*context.project, version_uri)
    show(as_json, found.as_json(), as_text(found))
