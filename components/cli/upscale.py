"""Restore photos: as aligned, nearer to the base, or the best of several."""

import os
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from components.cli.context import MODELS, PARAMS, AsJson, Context, Params, command, examples, print_json, show
from components.cli.upscale_model import BEST, load_model
from components.cli.upscale_options import (
    Base,
    BestOf,
    Compare,
    DryRun,
    Force,
    MaxPixels,
    Megapixels,
    Model,
    Name,
    Output,
    Photos,
    Power,
    Preference,
    Prompt,
    Scale,
    Seed,
    Start,
    Strength,
    Tile,
    Width,
)
from components.errors import BadInput, ExitCode
from components.interruption import goes_on
from components.runtime.process import resolve_device

if TYPE_CHECKING:
    from components.settings import MixtureSettings
    from components.upscale.forecast import Forecast
    from components.upscale.request import Request
    from components.upscale.size import Size
    from components.upscale.upscaler import Upscaler

commands = typer.Typer()


@dataclass(frozen=True)
class _Wanted:
    """What was typed, beside pictures and model."""

    output: Path | None
    name: str | None
    size: "Size"
    seed: int
    max_pixels: int
    prompt: str | None
    force: bool
    mixture: "MixtureSettings"
    best_of: int
    compare: bool
    dry_run: bool

    @property
    def needs_base(self) -> bool:
        """Whether the base restores too."""
        return self.compare or self.mixture.needs_base

    @property
    def named(self) -> str:
        """Name of the results: what was typed, or one that says how large they are, where that is one number."""
        if self.name is not None:
            return self.name
        sized = self.size.width is not None or self.size.megapixels is not None
        return "{stem}-restored.png" if sized else "{stem}-x{scale}.png"


@commands.command(
    rich_help_panel=MODELS,
    epilog=examples(
        "dp2o upscale photo.jpg -o large.png",
        "dp2o upscale photo.jpg --seed 7   (another plausible restoration, to photo-x4.png)",
        "dp2o upscale photo.jpg --strength 0.5 --compare   (half of the alignment, beside LR and base)",
        "dp2o upscale photo.jpg --preference 0.2   (a model with a dial: nearer to fidelity than to realism)",
        "dp2o upscale photo.jpg --best-of 8   (the seed that is rewarded most)",
        "dp2o upscale holiday/ -o large/ --name '{stem}.jpg'   (all below the folder; again, it goes on)",
        "dp2o upscale holiday/ --dry-run   (which photos, how long, how much memory)",
        "dp2o upscale *.jpg --scale 2",
        "dp2o upscale - -o - < photo.jpg > large.png",
        "dp2o upscale photo.jpg --model models:/dp2o-sr-tiny-flow@champion --json",
    ),
)
def upscale(
    photos: Photos,
    output: Output = None,
    name: Name = None,
    model: Model = BEST,
    seed: Seed = 0,
    scale: Scale = None,
    width: Width = None,
    megapixels: Megapixels = None,
    strength: Strength = 1.0,
    power: Power = 0.0,
    start: Start = 0.0,
    preference: Preference = None,
    best_of: BestOf = 1,
    compare: Compare = False,
    dry_run: DryRun = False,
    tile: Tile = 0,
    max_pixels: MaxPixels = 4_000_000,
    prompt: Prompt = None,
    base: Base = "",
    force: Force = False,
    params: Params = PARAMS,
    as_json: AsJson = False,
) -> None:
    """Restore photos at the model's scale, four times their width and height by default; or smaller.

    Turned upright; EXIF, XMP, IPTC, resolution and transparency are kept, grey stays grey, and colours are sRGB.
    Of several pictures, those that are done already are skipped, and one that cannot be used does not stop the others.
    """
    from components.settings import MixtureSettings  # noqa: PLC0415
    from components.upscale.jobs import check_name, is_one  # noqa: PLC0415
    from components.upscale.size import Size  # noqa: PLC0415

    with command("upscale", params) as context:
        mixture = MixtureSettings(strength=strength, power=power, start=start, preference=preference)
        size = Size(scale, width, megapixels)
        wanted = _Wanted(output, name, size, seed, max_pixels, prompt, force, mixture, best_of, compare, dry_run)
        if name is not None:
            check_name(name)

        def load() -> "Request":
            return _request(wanted, context, load_model(model, context, tile, max_pixels, base, wanted.needs_base))

        if is_one(photos, output):
            _one(photos[0], wanted, load, model, as_json)
        else:
            _several(photos, wanted, load, model, as_json)


def _one(photo: Path, wanted: _Wanted, load: Any, model: str, as_json: bool) -> None:
    from components.upscale.comparison import comparison_path, side_by_side  # noqa: PLC0415
    from components.upscale.encode import SIXTEEN, encoded  # noqa: PLC0415
    from components.upscale.jobs import filled  # noqa: PLC0415
    from components.upscale.picture import STANDARD, check_size, read_picture, write_picture  # noqa: PLC0415
    from components.upscale.size import resized  # noqa: PLC0415

    output = wanted.output
    piped = str(output) == STANDARD
    if wanted.dry_run:
        _foretell_one(photo, wanted, load, as_json)
        return
    if str(photo) == STANDARD and output is None:
        raise BadInput("what comes from standard input has no name: give --output, - for standard output")
    if piped and wanted.compare:
        raise BadInput("--compare writes a picture beside the result: give --output a file")
    if output and not piped:
        _check_outputs(output, wanted)
    picture = read_picture(photo, wanted.max_pixels)
    request: Request = load()
    upscaler = request.upscaler
    # Only the model knows its factor: a registered one may have another than the project's.
    factor = upscaler.backbone.scale
    target = output or photo.with_name(filled(wanted.named, photo, wanted.size.factor or factor, wanted.seed))
    height, width = picture.pixels.shape[:2]
    size = wanted.size.of(width, height, factor)
    if not piped:
        _check_outputs(target, wanted)
        check_size(target, *size)
    started = time.monotonic()
    made, rated = request(picture.pixels, progress=True)
    restored, seed = resized(made, size), rated[0].seed if rated else wanted.seed
    seconds = time.monotonic() - started
    done = {
        "input": str(photo),
        "output": str(target),
        "width": size[0],
        "height": size[1],
        "model": model,
        "model_digest": upscaler.digest,
        "seed": seed,
        "mixture": wanted.mixture.model_dump(),
        "best_of": [asdict(one) for one in rated],
        "comparison": str(comparison_path(target)) if wanted.compare else None,
        "seconds": round(seconds, 3),
    }
    if piped:
        sys.stdout.buffer.write(encoded(restored, ".png", picture))
        sys.stdout.flush()
        return
    if wanted.compare:
        sheet = side_by_side(picture.pixels, resized(request.base(picture.pixels, seed), size), restored)
        write_picture(comparison_path(target), sheet)
    write_picture(target, restored, picture)
    lost = picture.lost(target.suffix.lower() in SIXTEEN)
    was = f"; in 8 bits, RGB or grey, where the photo had {lost}" if lost else ""
    show(as_json, done, _text(done, f"{width} x {height} -> {size[0]} x {size[1]} px", wanted.mixture, was))


def _check_outputs(target: Path, wanted: _Wanted) -> None:
    from components.upscale.comparison import comparison_path  # noqa: PLC0415
    from components.upscale.picture import check_output  # noqa: PLC0415

    check_output(target, wanted.force)
    if wanted.compare:
        check_output(comparison_path(target), wanted.force)


def _text(done: dict[str, Any], size: str, mixture: "MixtureSettings", was: str) -> str:
    """The answer for people: what was made, and, where seeds were compared, what each got, the best first."""
    mixed = "" if mixture.branch == "policy" else f", {mixture.name}"
    made_by = f"model {done['model']} ({done['model_digest'][:12]}), seed {done['seed']}{mixed}"
    lines = [f"{done['output']}: {size}, {made_by}, {done['seconds']:.1f} s{was}"]
    if rated := done["best_of"]:
        metrics = ", ".join(rated[0]["scores"])
        lines.append(
            f"the best of {len(rated)} seeds by {metrics}, which need no HR; reward is stretched over the seeds"
        )
    for one in rated:
        scores = ", ".join(f"{name} {value:.3f}" for name, value in one["scores"].items())
        lines.append(f"  seed {one['seed']}: reward {one['reward']:.3f}, {scores}")
    if done["comparison"]:
        lines.append(f"{done['comparison']}: LR enlarged, base, result")
    return "\n".join(lines)


def _several(photos: list[Path], wanted: _Wanted, load: Any, model: str, as_json: bool) -> None:
    from components.upscale.jobs import find, plan  # noqa: PLC0415
    from components.upscale.many import Restoring  # noqa: PLC0415

    goes_on()
    if wanted.output is not None and os.path.exists(wanted.output) and not os.path.isdir(wanted.output):
        raise BadInput(f"{wanted.output} is a file, and several pictures need a folder: give another --output")
    if wanted.compare:
        raise BadInput("--compare is for one picture: name one photo")
    found, failed = find(photos, wanted.output)
    request: Request = load()
    upscaler = request.upscaler
    factor = upscaler.backbone.scale
    jobs = plan(found, wanted.output, wanted.named, wanted.size.factor or factor, wanted.seed)
    restoring = Restoring(request, wanted.size, wanted.force)
    if wanted.dry_run:
        _foretell(restoring.forecast(jobs, failed), as_json)
        return
    summary = restoring.run(jobs, failed)
    about = {
        "model": model,
        "model_digest": upscaler.digest,
        "seed": wanted.seed,
        "mixture": wanted.mixture.model_dump(),
    }
    if as_json:
        print_json(about | summary.as_json())
    else:
        print(f"model {model} ({upscaler.digest[:12]}), seed {wanted.seed}: {summary.as_text()}")
    if summary.failed:
        raise typer.Exit(ExitCode.BAD_INPUT)


def _foretell_one(photo: Path, wanted: _Wanted, load: Any, as_json: bool) -> None:
    from components.upscale.jobs import Job, filled  # noqa: PLC0415
    from components.upscale.many import Restoring  # noqa: PLC0415
    from components.upscale.picture import STANDARD  # noqa: PLC0415

    if STANDARD in (str(photo), str(wanted.output)):
        raise BadInput("--dry-run knows no pipes: name a photo, and leave --output out or give it a file")
    request: Request = load()
    factor = wanted.size.factor or request.upscaler.backbone.scale
    target = wanted.output or photo.with_name(filled(wanted.named, photo, factor, wanted.seed))
    job = Job(photo, target, target.parent)
    _foretell(Restoring(request, wanted.size, wanted.force).forecast([job]), as_json)


def _foretell(forecast: "Forecast", as_json: bool) -> None:
    show(as_json, forecast.as_json(), forecast.as_text())
    if forecast.failed:
        raise typer.Exit(ExitCode.BAD_INPUT)


def _request(wanted: _Wanted, context: Context, upscaler: "Upscaler") -> "Request":
    from components.upscale.request import Request, judge_of  # noqa: PLC0415

    settings = context.settings
    suite = judge_of(settings.score, str(resolve_device(settings.run.device))) if wanted.best_of > 1 else None
    seeds = range(wanted.seed, wanted.seed + wanted.best_of)
    return Request(upscaler, seeds, wanted.prompt, wanted.mixture, suite)
