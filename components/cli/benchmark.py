"""Measure on the field's public test sets."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from components.artifacts import paths
from components.cli.context import LOOK, PARAMS, AsJson, Params, command, examples, print_json
from components.errors import BadInput

commands = typer.Typer()

Many = list[str] | None


@commands.command(
    "benchmark",
    rich_help_panel=LOOK,
    epilog=examples(
        "dp2o benchmark --list",
        "dp2o benchmark realsr drealsr --data /data/sets",
        "dp2o benchmark realsr --data /data/sets --metrics paper --seeds 10",
        "dp2o benchmark realsr --data /data/sets --model base --model new=models:/sr-dev@candidate --peer bicubic",
        "dp2o benchmark realsr --data /data/sets --results SeeSR=/results/seesr --against SeeSR=SeeSR",
    ),
)
def benchmark(
    sets: Annotated[list[str] | None, typer.Argument(help="Which; --list shows them.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder that holds the sets' own folders.")] = None,
    model: Annotated[
        Many, typer.Option(help="base, aligned, models:/NAME@ALIAS or a folder of weights; or NAME=one of them.")
    ] = None,
    peer: Annotated[Many, typer.Option(help="bicubic, realesrgan, realesrgan_fixed or realesr_animevideo.")] = None,
    results: Annotated[Many, typer.Option(metavar="NAME=FOLDER", help="Restorations that others made.")] = None,
    against: Annotated[
        Many, typer.Option(metavar="NAME=COLUMN", help="A column of the paper's Table 1 to stand beside a model.")
    ] = None,
    metrics: Annotated[str, typer.Option(help="paper, embedded, or names by commas. Default: the settings'.")] = "",
    seeds: Annotated[int, typer.Option(min=1, max=64, help="K, samples an image.")] = 1,
    protocol: Annotated[
        Literal["crop", "full"], typer.Option(help="crop: the middle 128 px of each LR; full: all of it.")
    ] = "crop",
    listed: Annotated[bool, typer.Option("--list", help="The sets, their folders, and where to get them.")] = False,
    params: Params = PARAMS,
    as_json: AsJson = False,
) -> None:
    """Compare models on the field's test sets; tables in the papers' layout, beside the published figures."""
    from components.benchmark.sets import load_sets, named  # noqa: PLC0415

    if listed:
        _show(as_json)
        return
    with command("benchmark", params, logs=True, computes=True) as context:
        from components.benchmark.command import Asked, metrics_of, run_benchmark  # noqa: PLC0415
        from components.benchmark.models import Named  # noqa: PLC0415

        if not sets or data is None:
            known = ", ".join(load_sets())
            raise BadInput(f"name one of the sets ({known}) and give --data FOLDER, which holds the sets' folders")
        settings, root = context.project
        chosen = [named(name) for name in sets]
        default = ["base", *(["aligned"] if (root / paths.BEST).is_dir() else [])]
        asked = Asked(
            tuple(Named.parse(text, "--model") for text in (default if model is None and not results else model or [])),
            tuple(peer or ()),
            tuple(Named.parse(text, "--results") for text in results or ()),
            tuple(Named.parse(text, "--against") for text in against or ()),
            metrics_of(settings, metrics),
            seeds,
            protocol,
        )
        done = [run_benchmark(settings, root, one, data, asked) for one in chosen]
    if as_json:
        print_json([asdict(one) | {"folder": str(one.folder)} for one in done])
        return
    for one in done:
        print((one.folder / "table.md").read_text(encoding="utf-8"))
        print(f"{one.folder}: table.md, table.tex, table.csv")


def _show(as_json: bool) -> None:
    from components.benchmark.sets import load_sets  # noqa: PLC0415

    known = load_sets()
    if as_json:
        print_json([asdict(one) for one in known.values()])
        return
    for one in known.values():
        print(f"{one.name:<12} {one.about}")
        for layout in one.layouts:
            print(f"{'':<12}   {' and '.join(dict.fromkeys(f for part in layout for f in part.named))}")
