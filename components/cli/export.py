"""Take a model elsewhere."""

from pathlib import Path
from typing import Annotated

import typer

from components.cli.context import MODELS, PARAMS, AsJson, Params, command, examples, show
from components.cli.upscale_model import BEST, load_model
from components.cli.upscale_options import Base

commands = typer.Typer()


@commands.command(
    rich_help_panel=MODELS,
    epilog=examples(
        "dp2o export --format onnx --out leave/",
        "dp2o export components/backbones/weights/restorer_flow --format torchscript --out leave/",
        "dp2o export models:/dp2o-sr-sd2@champion --base models/sd2 --format diffusers --out leave/",
    ),
)
def export(
    model: Annotated[
        str, typer.Argument(help="Folder of a saved model, or a registered one: models:/name@alias.")
    ] = BEST,
    form: Annotated[str, typer.Option("--format", help="onnx, torchscript or diffusers.")] = "onnx",
    out: Annotated[Path, typer.Option("--out", "-o", help="New folder; one that exists is refused.")] = ...,  # type: ignore[assignment]
    name: Annotated[str, typer.Option(help="In the model card; default: register.model_name.")] = "",
    licence: Annotated[str, typer.Option(help="In the model card, as the hub names it, e.g. openrail++.")] = "",
    base: Base = "",
    params: Params = PARAMS,
    as_json: AsJson = False,
) -> None:
    """Write a model for software that knows nothing of this project, with a model card beside it."""
    with command("export", params) as context:
        from components.artifacts.evaluation import Evaluation  # noqa: PLC0415
        from components.export.command import export as write  # noqa: PLC0415

        upscaler = load_model(model, context, 0, 4_000_000, base, needs_base=False)
        evaluation = Evaluation.read_if_there(context.root)
        named = name or context.settings.register_.model_name
        done = write(upscaler, named, form, out, evaluation, licence)
    differs = f", {done['difference']:.1g} from the model's pictures at most" if "difference" in done else ""
    show(as_json, done, f"{out}: {form}, {len(done['files'])} files{differs}; {out / 'README.md'} shows how to use it")
