"""What `dp2o upscale` can be told."""

from pathlib import Path
from typing import Annotated

import typer

MOST_SEEDS = 64

Photos = Annotated[
    list[Path],
    typer.Argument(help="JPEG, PNG, WebP, TIFF, HEIC, AVIF or JPEG XL; folders, with all below; patterns; or -."),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="PNG, JPEG, WebP, TIFF, AVIF or JPEG XL; of several pictures a folder; -: standard output, as PNG. "
        "Default: beside the photo, of a folder in <folder>-x<scale> beside it.",
    ),
]
Name = Annotated[
    str | None,
    typer.Option(help="Of the results, with {stem}, {file}, {suffix}, {scale}, {seed}. Default: {stem}-x{scale}.png."),
]
Model = Annotated[
    str,
    typer.Option(help="Folder of a saved model, or a registered one: models:/name@alias, models:/name/version."),
]
Seed = Annotated[int, typer.Option(min=0, help="Of the noise: the same picture and seed give the same result.")]
Scale = Annotated[
    float | None, typer.Option(help="Times width and height, at most the model's factor, which is the default.")
]
Width = Annotated[int | None, typer.Option(help="Of the result, px, instead of --scale.")]
Megapixels = Annotated[float | None, typer.Option(help="Of the result, instead of --scale.")]
Tile = Annotated[
    int,
    typer.Option(
        help="Larger pictures are restored in tiles of this side, LR px; memory grows with its square. "
        "0: as suits the model."
    ),
]
MaxPixels = Annotated[int, typer.Option(min=1, help="Refuse larger pictures, LR px.")]
Prompt = Annotated[
    str | None, typer.Option(help="What the picture shows, for a text-to-image model; default: as in training.")
]
Base = Annotated[
    str,
    typer.Option(help="Where a registered ControlNet's frozen model is here: folder or hf://owner/name@revision."),
]
Strength = Annotated[
    float,
    typer.Option(
        min=0.0,
        max=2.0,
        help="Of the alignment: 0 is the base model, the most faithful; 1 is the aligned one; between them lies a "
        "mixture of both, at twice the predictions; above 1 the alignment is exaggerated, and artefacts with it.",
    ),
]
Power = Annotated[
    float,
    typer.Option(min=0.0, max=8.0, help="Annealed guidance: the larger, the later the aligned model has a say."),
]
Start = Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of the steps that the base makes alone.")]
Preference = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        max=1.0,
        help="Of a model with a dial: 0 for fidelity to 1 for realism; default: it is told none.",
    ),
]
BestOf = Annotated[
    int,
    typer.Option(
        min=1,
        max=MOST_SEEDS,
        help="Restore with so many seeds, from --seed on, and keep the one that is rewarded most: by the rewarded "
        "metrics that need no HR (score.nr and lr_consistency), stretched over these seeds.",
    ),
]
Compare = Annotated[
    bool,
    typer.Option("--compare", help="Write <output>-compare.png too: the LR enlarged, the base's picture, the result."),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="Say what would be restored, with tiles, time and memory from one tile, and write nothing."
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite what is there.")]
