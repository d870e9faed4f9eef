"""Look: what is out of date, figures, presets, costs, metrics."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from components.cli.context import LOOK, PARAMS, AsJson, Params, command, examples, print_json, show
from components.errors import BadInput

commands = typer.Typer()


@commands.command(rich_help_panel=LOOK, epilog=examples("dp2o status", "dp2o status --json"))
def status(params: Params = PARAMS, as_json: AsJson = False) -> None:
    """What DVC says is out of date, and the latest figures."""
    from components.pipeline import out_of_date  # noqa: PLC0415

    with command("status", params) as context:
        changed = out_of_date(context.root)
        latest = _latest(context.root)
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


@commands.command(rich_help_panel=LOOK, epilog=examples("dp2o results", "dp2o results --json | jq .reward.difference"))
def results(params: Params = PARAMS, as_json: AsJson = False) -> None:
    """Base against aligned with confidence intervals, and where the report is."""
    with command("results", params) as context:
        latest = _latest(context.root)
        if latest is None:
            raise BadInput(f"{context.root / 'reports/evaluation.json'} does not exist: `dp2o run` makes it")
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


@commands.command(
    "preset",
    rich_help_panel=LOOK,
    epilog=examples("dp2o preset", "dp2o preset c-sd2", "git checkout params.yaml   (the embedded default again)"),
)
def preset_command(
    name: Annotated[str | None, typer.Argument(help="Which; without it they are listed.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite changes of params.yaml.")] = False,
    params: Params = PARAMS,
) -> None:
    """Make params.yaml the settings of the paper's own models."""
    with command("preset", params):
        from components import presets  # noqa: PLC0415

        if name is None:
            for known in presets.names():
                print(f"{known:<8} {presets.title(known)}")
            return
        presets.apply(name, params, force)
    print(f"{params}: {presets.title(name)}")


@commands.command(
    "plan",
    rich_help_panel=LOOK,
    epilog=examples(
        "dp2o plan   (the settings, on this CPU or on the paper's 8 A800)",
        "dp2o plan --preset c-flux --gpu H100,L40S --gpus 4",
        "dp2o plan --preset c-sd2 --lr-images 5000 --json | jq '.kinds[0].gpu_hours'",
    ),
)
def plan_command(
    params: Params = PARAMS,
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
    with command("plan", params) as context:
        from components.plan.command import plan_of  # noqa: PLC0415
        from components.plan.table import render  # noqa: PLC0415

        plan, title = plan_of(context.params, preset, gpu or [], gpus, lr_images, mfu)
    show(as_json, plan.as_json(), render(plan, title))


@commands.command(
    "metrics", rich_help_panel=LOOK, epilog=examples("dp2o metrics", "dp2o metrics --preset paper --json")
)
def metrics_command(
    preset: Annotated[
        str, typer.Option(help="embedded, or paper: the nine of DP2O-SR and what it holds out.")
    ] = "embedded",
    as_json: AsJson = False,
) -> None:
    """A preset's lines for params.yaml, and which of its weight files are missing and where they belong."""
    with command("metrics"):
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
