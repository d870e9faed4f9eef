"""The page on this machine."""

from typing import Annotated

import typer

from components.cli.context import MODELS, PARAMS, Params, command, examples
from components.cli.upscale_model import BEST, load_model
from components.cli.upscale_options import Base, MaxPixels, Model, Prompt, Tile
from components.runtime.process import resolve_device

commands = typer.Typer()


@commands.command(
    rich_help_panel=MODELS,
    epilog=examples(
        "dp2o studio   (open the address that it prints)",
        "dp2o studio --model models:/dp2o-sr-restorer-flow@champion --port 9000",
    ),
)
def studio(
    model: Model = BEST,
    host: Annotated[str, typer.Option(help="Address to listen on; all but this machine's own are warned of.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option("--port", "-p", min=0, max=65535, help="Port; 0: any that is free.")] = 8040,
    tile: Tile = 0,
    max_pixels: MaxPixels = 1_000_000,
    prompt: Prompt = None,
    base: Base = "",
    params: Params = PARAMS,
) -> None:
    """A page in the browser: drop a photo, compare bicubic, base and restored, choose among seeds, download."""
    with command("studio", params, logs=True) as context:
        from components.studio.guard import is_local  # noqa: PLC0415
        from components.studio.server import run  # noqa: PLC0415
        from components.upscale.request import judge_of  # noqa: PLC0415

        settings = context.settings
        if not is_local(host):
            typer.echo(
                f"dp2o studio: WARNING: --host {host} lets everybody who reaches this machine upload photos and use "
                "its processor, without a password and unencrypted",
                err=True,
            )
        upscaler = load_model(model, context, tile, max_pixels, base, needs_base=not model.startswith("models:/"))
        device = str(resolve_device(settings.run.device))
        run(
            upscaler,
            lambda: judge_of(settings.score, device),
            model,
            host,
            port,
            lambda address: typer.echo(f"dp2o studio: {address}   (Ctrl-C ends it)"),
            prompt,
        )
