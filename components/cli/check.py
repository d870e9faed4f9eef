"""Try what people bring."""

import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from components.cli.context import LOOK, PARAMS, AsJson, Params, command, examples, print_json
from components.errors import BadInput, ExitCode

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

commands = typer.Typer()

SIDE = 32
"""LR px, for families that restore any size."""
MOST_PIXELS = 50_000_000
"""Of a photo of `check-metric`."""


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
        from components.runtime.process import resolve_device  # noqa: PLC0415
        from components.settings.families import family_of  # noqa: PLC0415

        settings, root = context.project
        backbone = load_backbone(settings, root, resolve_device(settings.run.device))
        trained = family_of(settings.backbone.family).limits.trained_side
        side = side or (trained // backbone.scale if trained else SIDE)
        largest = settings.backbone.largest_lr
        if largest is not None and side * side > largest:
            raise BadInput(f"--side {side} is more than backbone.max_lr_pixels {largest}: give a smaller one")
        rounding = 1e-3 if settings.backbone.frozen_dtype == "float32" else 5e-2
        holds = _told(settings.backbone.family, check(backbone, side, tolerance or rounding), as_json)
    if not holds:
        raise typer.Exit(ExitCode.BAD_INPUT)


@commands.command(
    "check-metric",
    rich_help_panel=LOOK,
    epilog=examples(
        "dp2o check-metric my_methods.lost_edges:LOST_EDGES", "dp2o check-metric stlpips --photos holiday/"
    ),
)
def check_metric(
    name: Annotated[str, typer.Argument(help="A metric of `dp2o metrics`, or package.module:NAME of your own.")],
    photos: Annotated[
        Path | None,
        typer.Option(help="Folder of photos that it is tried on; default: four that come with scikit-image."),
    ] = None,
    side: Annotated[int, typer.Option(min=16, help="Of the crops, px; at least the metric's own smallest.")] = 128,
    tolerance: Annotated[
        float, typer.Option(min=0.0, help="Difference that rounding may make, in deviations of the values.")
    ] = 1e-3,
    params: Params = PARAMS,
    as_json: AsJson = False,
) -> None:
    """Try what a reward takes for granted of a metric: better pictures score better, and a score is a picture's own."""
    with command("check-metric", params) as context:
        if str(context.root) not in sys.path:
            sys.path.append(str(context.root))  # one's own lies beside params.yaml
        from components.metrics.check import check  # noqa: PLC0415
        from components.metrics.table import info  # noqa: PLC0415
        from components.metrics.trial import SHIPPED, WITH_TEXT, shipped_photos, trials  # noqa: PLC0415
        from components.runtime.process import resolve_device  # noqa: PLC0415

        row = info(name)
        shown = _photos(photos) if photos else shipped_photos(WITH_TEXT if row.partial else SHIPPED)
        found = check(name, resolve_device("auto"), trials(max(side, row.min_size), shown), tolerance)
        holds = _told(name, found, as_json)
    if not holds:
        raise typer.Exit(ExitCode.BAD_INPUT)


def _told(what: str, found: Iterable[Any], as_json: bool) -> bool:
    """Print outcomes as they come; whether all promises hold."""
    outcomes = []
    for outcome in found:
        outcomes.append(outcome)
        if not as_json:
            print(f"{'ok  ' if outcome.holds else 'NO  '} {outcome.name}: {outcome.seen}", flush=True)
            if outcome.change:
                print(f"     {outcome.change}")
    failed = sum(not outcome.holds for outcome in outcomes)
    if as_json:
        print_json([asdict(outcome) for outcome in outcomes])
    else:
        print(f"{what}: {len(outcomes) - failed} of {len(outcomes)} promises hold")
    return not failed


def _photos(folder: Path) -> "list[NDArray[np.uint8]]":
    """Photos of a folder, RGB `[H, W, 3]`; those that cannot be read are told and left out.

    Raises:
        BadInput: none can.
    """
    from components.photos.content import read_content  # noqa: PLC0415
    from components.photos.folder import entries  # noqa: PLC0415
    from components.photos.limits import Limits  # noqa: PLC0415
    from components.photos.reader import PhotoReader  # noqa: PLC0415
    from components.photos.unusable import UnusablePhotoError  # noqa: PLC0415

    if not folder.is_dir():
        raise BadInput(f"--photos {folder} is not a folder: name one that holds photos")
    found = []
    with PhotoReader(Limits.of(MOST_PIXELS), 1) as reader:
        for entry in entries(folder):
            try:
                if entry.problem:
                    raise entry.problem
                found.append(reader.pixels(read_content(entry.path, reader.limits.max_bytes)))
            except UnusablePhotoError as error:
                print(f"left out: {entry.name}: {error}", file=sys.stderr)
    if not found:
        raise BadInput(f"--photos {folder} holds no photo that can be read")
    return found
