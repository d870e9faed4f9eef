"""Try what people bring."""

from dataclasses import asdict
from typing import Annotated

import typer

from components.cli.context import LOOK, PARAMS, AsJson, Params, command, examples, print_json
from components.errors import BadInput, ExitCode

commands = typer.Typer()

SIDE = 32
"""LR px, for families that restore any size."""


@commands.command(
    "check-backbone",
    rich_help_panel=LOOK,
    epilog=examples("dp2o check-backbone", "dp2o check-backbone --side 64 --json"),
)
def check_backbone(
    side: Annotated[
        int, typer.Option(min=0, help="Of the LR pictures that it is tried on, px; 0: as the family was trained.")
    ] = 0,
    tolerance: Annotated[
        float, typer.Option(min=0.0, help="Relative difference that rounding may make; 0: by the model's precision.")
    ] = 0.0,
    params: Params = PARAMS,
    as_json: AsJson = False,
) -> None:
    """Load the settings' backbone and try what every stage takes for granted of it, before hours are spent on it."""
    with command("check-backbone", params, computes=True) as context:
        from components.backbones.check import check  # noqa: PLC0415
        from components.backbones.loading import load_backbone  # noqa: PLC0415
        from components.process import resolve_device  # noqa: PLC0415
        from components.settings.families import family_of  # noqa: PLC0415

        settings, root = context.project
        backbone = load_backbone(settings, root, resolve_device(settings.run.device))
        trained = family_of(settings.backbone.family).limits.trained_side
        side = side or (trained // backbone.scale if trained else SIDE)
        largest = settings.backbone.largest_lr
        if largest is not None and side * side > largest:
            raise BadInput(f"--side {side} is more than backbone.max_lr_pixels {largest}: give a smaller one")
        rounding = 1e-3 if settings.backbone.frozen_dtype == "float32" else 5e-2
        outcomes = []
        for outcome in check(backbone, side, tolerance or rounding):
            outcomes.append(outcome)
            if not as_json:
                print(f"{'ok  ' if outcome.holds else 'NO  '} {outcome.name}: {outcome.seen}", flush=True)
                if outcome.change:
                    print(f"     {outcome.change}")
    failed = sum(not outcome.holds for outcome in outcomes)
    if as_json:
        print_json([asdict(outcome) for outcome in outcomes])
    else:
        print(f"{settings.backbone.family}: {len(outcomes) - failed} of {len(outcomes)} promises hold")
    if failed:
        raise typer.Exit(ExitCode.BAD_INPUT)
