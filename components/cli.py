"""`dp2o`: all that people type. Heavy imports stay inside the commands, so that help and completion are quick."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from components.entry import STAGES, run_stage, start_logging
from components.errors import BadInput, ExitCode, UserError, tell

PIPELINE, MODELS, LOOK, OPERATE = "Pipeline", "Models", "Look", "Operate"

BEST = "models/aligned/best"

STAGE_EXAMPLES = {
    "prepare": ["dp2o prepare"],
    "generate": ["dp2o generate", "dp2o generate --shard 0/4   (a quarter of the work, into the cache)"],
    "score": ["dp2o score", "dp2o score --shard 1/4"],
    "pair": ["dp2o pair"],
    "train": ["dp2o train", "accelerate launch --config_file launch/ddp.yaml -m components.train   (several GPUs)"],
    "evaluate": ["dp2o evaluate"],
    "report": ["dp2o report && xdg-open reports/index.html"],
    "register": ["dp2o register", "MLFLOW_TRACKING_URI=http://mlflow:5000 dp2o register"],
}

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
            "Examples (each command's --help has more):",
            "dp2o run",
            "dp2o results",
            "dp2o upscale photo.jpg -o large.png",
        ]
    ),
)
models = typer.Typer(no_args_is_help=True, help="Registered model versions.")
app.add_typer(models, name="models", rich_help_panel=MODELS)

Params = Annotated[Path, typer.Option("--params", help="Settings; all data are beside this file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


def examples(*lines: str) -> str:
    """Epilog of a command's help; blank lines keep typer from joining the lines."""
    return "\n\n".join(["Examples:", *lines])


@contextmanager
def user_errors(command: str) -> Iterator[None]:
    """Errors that the user can act on: one message and an exit code, no traceback."""
    try:
        yield
    except UserError as error:
        raise typer.Exit(tell(f"dp2o {command}", error)) from error


def print_json(value: Any) -> None:
    """Indented JSON on stdout."""
    print(json.dumps(value, indent=2))


@app.command(
    rich_help_panel=PIPELINE,
    epilog=examples(
        "dp2o run", "dp2o run evaluate   (that stage and what it needs)", "dp2o run --force train --single"
    ),
)
def run(
    stages: Annotated[
        list[str] | None, typer.Argument(help="Stages to bring up to date; all where none is named.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Run even what is up to date.")] = False,
    single: Annotated[bool, typer.Option("--single", help="Only the named stages, not what they need.")] = False,
) -> None:
    """Bring the pipeline up to date: `dvc repro`, with the exit code of the stage that failed.

    Folders that params.yaml names and dvc.yaml does not are added to the latter, so that a change in them is noticed.
    """
    from components.pipeline import reproduce  # noqa: PLC0415
    from components.pipeline_files import follow_settings  # noqa: PLC0415

    with user_errors("run"):
        for stage, folder in follow_settings(Path()):
            print(f"dvc.yaml: {stage} depends on {folder} now, as params.yaml names it", file=sys.stderr)
    flags = [*(["--force"] if force else []), *(["--single-item"] if single else [])]
    raise typer.Exit(reproduce([*flags, *(stages or [])]))


def _stage_command(name: str) -> Callable[..., None]:
    def command(
        params: Params = Path("params.yaml"),
        shard: Annotated[
            str | None, typer.Option(metavar="i/n", help="Only part i of n of the work, into the cache.")
        ] = None,
        override: Annotated[
            list[str] | None,
            typer.Option("--set", metavar="block.key=value", help="A setting that says where and how, never what."),
        ] = None,
    ) -> None:
        from components.artifacts.shards import Shard  # noqa: PLC0415

        start_logging()
        with user_errors(name):
            part = Shard.parse(shard) if shard else None
            raise typer.Exit(run_stage(name, params, part, overrides=override or []))

    command.__doc__ = f"{STAGES[name][0].upper()}{STAGES[name][1:]}."
    return command


for _name in STAGES:
    app.command(_name, rich_help_panel=PIPELINE, epilog=examples(*STAGE_EXAMPLES[_name]))(_stage_command(_name))


@app.command(
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
        str, typer.Option(help="Where a registered ControlNet's frozen model is here: folder or hub id.")
    ] = "",
    force: Annotated[bool, typer.Option("--force", help="Overwrite the output.")] = False,
    params: Params = Path("params.yaml"),
    as_json: AsJson = False,
) -> None:
    """Restore one photo at the model's scale, four times its width and height by default."""
    from components.upscale.picture import check_output, read_picture, write_picture  # noqa: PLC0415

    with user_errors("upscale"):
        target = output or photo.with_name(f"{photo.stem}-x{_scale(params)}.png")
        check_output(target, force)
        picture = read_picture(photo, max_pixels)
        upscaler = _upscaler(model, params, tile, max_pixels, base)
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
    if as_json:
        print_json(done)
    else:
        height, width = picture.shape[:2]
        size = f"{width} x {height} -> {done['width']} x {done['height']} px"
        print(f"{target}: {size}, model {model} ({upscaler.digest[:12]}), seed {seed}, {seconds:.1f} s")


def _scale(params: Path) -> int:
    """Output side over LR side, as the settings have it for what is restored and what was trained."""
    from components.settings import load_settings  # noqa: PLC0415

    return load_settings(params).prepare.scale


def _upscaler(model: str, params: Path, tile: int, max_pixels: int, base: str) -> Any:
    from components.entry import resolve_device, set_up_process  # noqa: PLC0415
    from components.settings import load_settings  # noqa: PLC0415

    settings, root = load_settings(params), params.resolve().parent
    set_up_process(settings)
    if model.startswith("models:/"):
        from components.registry.models import load_upscaler  # noqa: PLC0415

        tiling = {"max_pixels": max_pixels} | ({"tile": tile} if tile else {})
        return load_upscaler(settings.register_, root, model, tiling, settings.run.device, base)
    if base:
        raise BadInput("--base is for registered models (models:/...); for a folder the settings' backbone.base counts")
    from components.backbones.registry import located  # noqa: PLC0415
    from components.prompts.writer import prompt_writer  # noqa: PLC0415
    from components.upscale.upscaler import Upscaler, default_tiling  # noqa: PLC0415

    backbone, device = located(settings.backbone, root), resolve_device(settings.run.device)
    suited = replace(default_tiling(backbone), max_pixels=max_pixels)
    writer = prompt_writer(settings.prepare.prompt, backbone, root, device)
    return Upscaler.load(Path(model), backbone, device, replace(suited, tile=tile) if tile else suited, writer)


@models.command("list", epilog=examples("dp2o models list", "dp2o models list --json | jq -r '.[0].version'"))
def list_models(params: Params = Path("params.yaml"), as_json: AsJson = False) -> None:
    """Registered versions, newest first, with their aliases and figures."""
    with user_errors("models list"):
        from components.registry.models import list_versions  # noqa: PLC0415
        from components.settings import load_settings  # noqa: PLC0415

        versions = list_versions(load_settings(params).register_, params.resolve().parent)
    if as_json:
        print_json([version.as_json() for version in versions])
        return
    if not versions:
        print("no model is registered yet; `dp2o run` or `dp2o register` does it")
    for version in versions:
        aliases = " ".join(f"@{alias}" for alias in version.aliases)
        print(f"{version.model} {version.version} {aliases}\n    {version.headline}")


@models.command(
    "show",
    epilog=examples(
        "dp2o models show   (the candidate of this project)",
        "dp2o models show dp2o-sr-tiny-flow-dev/3",
        "dp2o models show dp2o-sr-tiny-flow@champion --json",
    ),
)
def show_model(
    reference: Annotated[
        str | None, typer.Argument(help="name@alias or name/version; default: the settings' model, alias candidate.")
    ] = None,
    params: Params = Path("params.yaml"),
    as_json: AsJson = False,
) -> None:
    """Model card of one version: figures with confidence intervals, and what it was made of."""
    with user_errors("models show"):
        from components.registry.models import show_version  # noqa: PLC0415
        from components.registry.versions import CANDIDATE  # noqa: PLC0415
        from components.settings import load_settings  # noqa: PLC0415

        settings = load_settings(params).register_
        wanted = reference or f"{settings.model_name}@{CANDIDATE}"
        version, card = show_version(settings, params.resolve().parent, wanted)
    if as_json:
        print_json(version.as_json() | {"card": card})
        return
    aliases = " ".join(f"@{alias}" for alias in version.aliases) or "no alias"
    print(f"version {version.version} ({aliases}), run {version.run_id}\n\n{card}")


class PolicyName(StrEnum):
    """Who decides once the gate has said yes."""

    MANUAL = "manual"
    AUTOMATIC = "automatic"


Reference = Annotated[
    str | None, typer.Argument(help="name@alias or name/version; default: the settings' model, alias candidate.")
]
Reason = Annotated[str, typer.Option(help="Why; recorded for good.")]


@app.command(rich_help_panel=MODELS, epilog=examples("dp2o freeze && dvc add data/benchmark"))
def freeze(params: Params = Path("params.yaml"), as_json: AsJson = False) -> None:
    """Freeze a first benchmark set from the test split, where there is none; `promote` does it by itself otherwise."""
    start_logging()
    with user_errors("freeze"):
        from components.entry import set_up_process  # noqa: PLC0415
        from components.promote import promotion  # noqa: PLC0415
        from components.settings import load_settings  # noqa: PLC0415

        settings = load_settings(params)
        set_up_process(settings)
        name, is_new = promotion.freeze(settings, params.resolve().parent)
    if as_json:
        print_json({"benchmark": name, "new": is_new})
    else:
        print(f"benchmark set {name} {'is frozen from the test split' if is_new else 'is there already'}")


@app.command(
    rich_help_panel=MODELS,
    epilog=examples(
        "dp2o promote   (gate the candidate; with gate.policy manual it then waits)",
        "dp2o promote --approved-by ada   (promote it if it passes; a report that still holds is not made again)",
        "dp2o promote dp2o-sr-tiny-flow-dev/3 --json | jq '.report.checks[] | select(.verdict == \"no\")'",
    ),
)
def promote(
    reference: Reference = None,
    approved_by: Annotated[str | None, typer.Option(help="Who approves; recorded for good.")] = None,
    reason: Reason = "",
    report: Annotated[
        str, typer.Option(help="First digits of the report's `question`: approve that one, and no later one.")
    ] = "",
    policy: Annotated[PolicyName | None, typer.Option(help="Instead of gate.policy.")] = None,
    new_benchmark: Annotated[
        bool, typer.Option("--new-benchmark", help="Freeze a new set from the present test split, and judge on it.")
    ] = False,
    again: Annotated[bool, typer.Option("--again", help="Measure even if there is a report that still holds.")] = False,
    params: Params = Path("params.yaml"),
    as_json: AsJson = False,
) -> None:
    """Make a version the champion if it passes the gate; exit code 3 if it does not, or waits for an approval."""
    start_logging()
    with user_errors("promote"):
        from components.entry import set_up_process  # noqa: PLC0415
        from components.gate import verdicts  # noqa: PLC0415
        from components.promote import promotion  # noqa: PLC0415
        from components.settings import load_settings  # noqa: PLC0415

        if (reason or report) and not approved_by:
            raise BadInput("--reason and --report belong to an approval: give --approved-by as well")
        settings = load_settings(params)
        set_up_process(settings)
        outcome = promotion.promote(
            settings,
            params.resolve().parent,
            reference,
            promotion.Approval(approved_by, reason, report) if approved_by else None,
            policy.value if policy else None,
            new_benchmark,
            again,
        )
    if as_json:
        print_json(outcome.as_json())
    else:
        if outcome.report:
            print(verdicts.as_text(outcome.report))
        print(outcome.text)
    if outcome.decision in {"refused", "rejected", "awaits approval"}:
        raise typer.Exit(ExitCode.REFUSED)


@app.command(rich_help_panel=MODELS, epilog=examples('dp2o reject --by ada --reason "grain in skies"'))
def reject(
    by: Annotated[str, typer.Option(help="Who says no; recorded for good.")],
    reason: Reason = "",
    reference: Annotated[
        str | None, typer.Argument(help="name@alias or name/version; default: the settings' model, alias challenger.")
    ] = None,
    params: Params = Path("params.yaml"),
    as_json: AsJson = False,
) -> None:
    """Say no to a version that passed the gate and waits: it is recorded, and the alias challenger goes."""
    with user_errors("reject"):
        from components.promote import promotion  # noqa: PLC0415
        from components.settings import load_settings  # noqa: PLC0415

        outcome = promotion.reject(load_settings(params), params.resolve().parent, by, reason, reference)
    if as_json:
        print_json(outcome.as_json())
    else:
        print(outcome.text)


@app.command(
    rich_help_panel=MODELS,
    epilog=examples("dp2o rollback --by ada   (to the champion before this one)", "dp2o rollback --to 3 --by ada"),
)
def rollback(
    by: Annotated[str, typer.Option(help="Who does it; recorded for good.")],
    to: Annotated[int | None, typer.Option(help="An earlier champion's version; default: the last one.")] = None,
    reason: Reason = "",
    params: Params = Path("params.yaml"),
    as_json: AsJson = False,
) -> None:
    """Give the alias champion back to an earlier champion; nothing else moves."""
    with user_errors("rollback"):
        from components.promote import promotion  # noqa: PLC0415
        from components.settings import load_settings  # noqa: PLC0415

        outcome = promotion.rollback(load_settings(params), params.resolve().parent, by, to, reason)
    if as_json:
        print_json(outcome.as_json())
    else:
        print(outcome.text)


@app.command(rich_help_panel=MODELS, epilog=examples("dp2o history", "dp2o history --json | jq '.records[-1]'"))
def history(params: Params = Path("params.yaml"), as_json: AsJson = False) -> None:
    """Promotions, rollbacks and refusals, oldest first, with who and why."""
    with user_errors("history"):
        from components.promote import promotion  # noqa: PLC0415
        from components.settings import load_settings  # noqa: PLC0415

        found, alias = promotion.history(load_settings(params), params.resolve().parent)
    if as_json:
        records = [record.as_json() for record in found.records]
        print_json({"records": records, "champion": found.champion, "alias": alias})
        return
    for record in found.records:
        content, when = record.content, time.strftime("%Y-%m-%d %H:%M", time.gmtime(record.created_ms / 1000))
        outcome = f"lost to record {record.lost_to}" if record.status == "lost" else ""
        print(f"{record.number} {when} UTC {content.kind} by {content.by}: {content.reason} {outcome}".rstrip())
    print(f"champion: {'none' if found.champion is None else f'version {found.champion}'}")
    if alias != found.champion:
        print(f"the alias is at {alias}: cut off, or moved by hand; the next promote or rollback puts it right")


@app.command(
    rich_help_panel=OPERATE,
    epilog=examples(
        "dp2o intake   (what arrived since the last time)",
        "dp2o intake --dry-run --json   (judge, write nothing)",
        "dp2o intake --since 2030-01-01 --until 2030-02-01   (look at that month again, at what was set aside, too)",
    ),
)
def intake(
    since: Annotated[datetime | None, typer.Option(help="Backfill: objects dated from then on, UTC.")] = None,
    until: Annotated[datetime | None, typer.Option(help="Backfill: objects dated before then, UTC.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Backfill of all that is there.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Judge, but write nothing, here or in S3.")] = False,
    params: Params = Path("params.yaml"),
    as_json: AsJson = False,
) -> None:
    """Take in new LR images from S3; what cannot be used goes to the quarantine prefix with a reason."""
    start_logging()
    with user_errors("intake"):
        from components.intake.stage import run_intake  # noqa: PLC0415
        from components.settings import load_settings  # noqa: PLC0415

        settings = load_settings(params)
        chosen = settings.intake.model_dump() | {"everything": everything, "dry_run": dry_run}
        chosen |= {"since": since or settings.intake.since, "until": until or settings.intake.until}
        limits = type(settings.intake).model_validate(chosen)
        outcome = run_intake(settings.model_copy(update={"intake": limits}), params.resolve().parent)
    if as_json:
        print_json(outcome.as_json())
    else:
        print(outcome.text)


@app.command(
    rich_help_panel=OPERATE,
    epilog=examples("dp2o drift && xdg-open reports/drift.html", "dp2o drift --json | jq .decision"),
)
def drift(params: Params = Path("params.yaml"), as_json: AsJson = False) -> None:
    """Compare what came in since the last training with the training set: train again or not."""
    start_logging()
    with user_errors("drift"):
        from components.drift.stage import PAGE, run_drift  # noqa: PLC0415
        from components.settings import load_settings  # noqa: PLC0415

        outcome = run_drift(load_settings(params), params.resolve().parent)
    if as_json:
        print_json(outcome.as_json())
    else:
        print(f"{outcome.decision.text}; {PAGE}")


@app.command(
    rich_help_panel=OPERATE,
    epilog=examples(
        "dp2o monitor s3://production/pairs/",
        "dp2o monitor /data/pairs --sample 500 --json | jq '.rows[] | select(.verdict != \"yes\")'",
    ),
)
def monitor(
    pairs: Annotated[
        str | None,
        typer.Argument(help="Folder or s3:// prefix with <name>.lr.png and <name>.sr.png; default: settings."),
    ] = None,
    sample: Annotated[int | None, typer.Option(min=1, help="Most pairs; the newest.")] = None,
    params: Params = Path("params.yaml"),
    as_json: AsJson = False,
) -> None:
    """Score what the champion restored in production against its gate's record; exit code 3 if it is not healthy."""
    start_logging()
    with user_errors("monitor"):
        from components.monitor.command import PAGE, run_monitor  # noqa: PLC0415
        from components.settings import load_settings  # noqa: PLC0415

        settings = load_settings(params)
        changes = {name: value for name, value in (("pairs", pairs), ("sample", sample)) if value is not None}
        watched = type(settings.monitor).model_validate(settings.monitor.model_dump() | changes)
        health = run_monitor(settings.model_copy(update={"monitor": watched}), params.resolve().parent)
    if as_json:
        print_json(health.as_json())
    else:
        print(f"{health.text}; {PAGE}")
    if not health.healthy:
        raise typer.Exit(ExitCode.REFUSED)


@app.command(rich_help_panel=LOOK, epilog=examples("dp2o status", "dp2o status --json"))
def status(params: Params = Path("params.yaml"), as_json: AsJson = False) -> None:
    """What DVC says is out of date, and the latest figures."""
    from components.pipeline import out_of_date  # noqa: PLC0415

    root = params.resolve().parent
    with user_errors("status"):
        changed = out_of_date(root)
        latest = _latest(root)
    if as_json:
        print_json({"out_of_date": changed, "results": latest})
        return
    print(f"out of date: {', '.join(changed)}" if changed else "everything is up to date")
    for stage, reasons in changed.items():
        print(f"  {stage}: {_reasons(reasons)}")
    print(latest["headline"] if latest else "no evaluation yet")


def _reasons(reasons: Any) -> str:
    """One line of what `dvc status --json` gives for a stage."""
    parts = []
    for reason in reasons if isinstance(reasons, list) else [reasons]:
        if isinstance(reason, dict):
            parts += [f"{what} {', '.join(items)}" for what, items in reason.items()]
        else:
            parts.append(str(reason))
    return "; ".join(parts)


@app.command(rich_help_panel=LOOK, epilog=examples("dp2o results", "dp2o results --json | jq .reward.difference"))
def results(params: Params = Path("params.yaml"), as_json: AsJson = False) -> None:
    """Base against aligned with confidence intervals, and where the report is."""
    root = params.resolve().parent
    with user_errors("results"):
        latest = _latest(root)
        if latest is None:
            raise BadInput(f"{root / 'reports/evaluation.json'} does not exist: `dp2o run` makes it")
    if as_json:
        print_json(latest)
        return
    for name, figures in latest["metrics"].items():
        change = f"{figures['base']:.4f} -> {figures['aligned']:.4f}"
        interval = f"{figures['difference']:+.4f} ({figures['ci_low']:+.4f} .. {figures['ci_high']:+.4f})"
        kind = "rewarded" if figures["in_reward"] else "held out"
        print(f"  {name:<16} {change:<22} {interval:<34} {kind:<9} {figures['verdict']}")
    if latest["version"] is not None:
        print(f"model: {latest['version']['model']} version {latest['version']['version']}")
    print(f"{latest['headline']}; report: {latest['report'] or 'not made yet'}")


@app.command(
    "preset",
    rich_help_panel=LOOK,
    epilog=examples("dp2o preset", "dp2o preset c-sd2", "git checkout params.yaml   (the embedded default again)"),
)
def preset_command(
    name: Annotated[str | None, typer.Argument(help="Which; without it they are listed.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite changes of params.yaml.")] = False,
    params: Params = Path("params.yaml"),
) -> None:
    """Make params.yaml the settings of the paper's own models."""
    with user_errors("preset"):
        from components import presets  # noqa: PLC0415

        if name is None:
            for known in presets.names():
                print(f"{known:<8} {presets.title(known)}")
            return
        presets.apply(name, params, force)
    print(f"{params}: {presets.title(name)}")


@app.command(
    "plan",
    rich_help_panel=LOOK,
    epilog=examples(
        "dp2o plan   (the settings, on this CPU or on the paper's 8 A800)",
        "dp2o plan --preset c-flux --gpu H100,L40S --gpus 4",
        "dp2o plan --preset c-sd2 --lr-images 5000 --json | jq '.kinds[0].gpu_hours'",
    ),
)
def plan_command(
    params: Params = Path("params.yaml"),
    preset: Annotated[str | None, typer.Option(help="Plan a preset instead; see `dp2o preset`.")] = None,
    gpu: Annotated[
        list[str] | None, typer.Option(help="Kind of GPU, or cpu; several by commas. An unknown name lists the known.")
    ] = None,
    gpus: Annotated[int | None, typer.Option(min=1, help="How many of each kind; default: 8.")] = None,
    lr_images: Annotated[
        int | None, typer.Option(min=1, help="LR images of all splits; default: the dataset's, else 30,000.")
    ] = None,
    mfu: Annotated[
        float | None, typer.Option(help="Fraction of the peak kept up, 0 to 1; default: what the paper's hours imply.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """What a run costs: memory, arithmetic, GPU-hours and bytes, from shapes alone."""
    with user_errors("plan"):
        from components.plan.command import plan_of  # noqa: PLC0415
        from components.plan.table import render  # noqa: PLC0415

        plan, title = plan_of(params, preset, gpu or [], gpus, lr_images, mfu)
    if as_json:
        print_json(plan.as_json())
    else:
        print(render(plan, title))


@app.command("metrics", rich_help_panel=LOOK, epilog=examples("dp2o metrics", "dp2o metrics --preset paper --json"))
def metrics_command(
    preset: Annotated[
        str, typer.Option(help="embedded, or paper: the nine of DP2O-SR and what it holds out.")
    ] = "embedded",
    as_json: AsJson = False,
) -> None:
    """A preset's lines for params.yaml, and which of its weight files are missing and where they belong."""
    with user_errors("metrics"):
        from components.metrics.table import PRESETS  # noqa: PLC0415
        from components.metrics.weights import required  # noqa: PLC0415

        if preset not in PRESETS:
            raise BadInput(f"--preset {preset}: there is none of that name; the presets are {', '.join(PRESETS)}")
        chosen = PRESETS[preset]
        roles = {"fr": list(chosen.fr), "nr": list(chosen.nr), "held_out": list(chosen.held_out)}
        missing = {}
        for name in [name for names in roles.values() for name in names]:
            try:
                required(name)
            except BadInput as error:
                missing[name] = str(error)
    if as_json:
        print_json({"preset": preset, "score": roles, "missing": missing})
        return
    print("score:")
    for role, names in roles.items():
        print(f"  {role}: [{', '.join(names)}]")
    for text in missing.values():
        print(f"missing: {text}")
    if not missing:
        print("all weights are in place")


def _latest(root: Path) -> dict[str, Any] | None:
    """Figures of reports/evaluation.json, the registered version, and the report's path; None before any evaluation.

    Raises:
        BadInput: a file is damaged.
    """
    evaluation = _json_file(root / "reports/evaluation.json")
    if evaluation is None:
        return None
    page = root / "reports/index.html"
    kept = ("headline", "images", "photos", "confidence", "reward", "win_rate", "metrics")
    return {name: evaluation[name] for name in kept} | {
        "version": _json_file(root / "reports/registration.json"),
        "report": str(page) if page.is_file() else None,
    }


def _json_file(path: Path) -> Any:
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise BadInput(f"{path} is damaged ({error}): run its stage again") from error


def main(*arguments: str) -> None:
    """The console script; `arguments` come before those of the command line."""
    app([*arguments, *sys.argv[1:]], prog_name="dp2o")
