"""The commands together, and how they end."""

import typer

from components.cli import (
    benchmark,
    check,
    clean,
    export,
    gate,
    look,
    models,
    operate,
    pipeline,
    studio,
    study,
    trust,
    upscale,
)

app = typer.Typer(
    name="dp2o",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="From a folder of photographs to a super-resolution model aligned with perceptual preferences.",
    epilog="\n\n".join(
        [
            "Exit codes:",
            "0   done",
            "1   a defect of ours; the traceback is printed",
            "2   settings, data or arguments must change first; the message says how",
            "3   the gate refused a promotion, or it waits for an approval",
            "65  an object of the store is damaged; it was set aside",
            "75  stopped with everything saved, or a server is away: run the same command again",
            "130 stopped by Ctrl-C (143: by SIGTERM), and there is nothing to go on from",
            "Examples (each command's --help has more):",
            "dp2o run",
            "dp2o results",
            "dp2o upscale photo.jpg -o large.png",
        ]
    ),
)
for group in (pipeline, upscale, studio, export, models, trust, gate, operate, clean, look, check, benchmark, study):
    app.add_typer(group.commands)
