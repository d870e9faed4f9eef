"""Look: what is out of date, figures, presets, costs, metrics."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from components.artifacts import paths
from components.artifacts.evaluation import Evaluation
from components.artifacts.registration import Registration
from components.cli.context import LOOK, PARAMS, AsJson, Params, command, examples, print_json, show
from components.errors import BadInput

commands = typer.Typer()


@commands.command(rich_help_panel=LOOK, epilog=examples("dp2o status", "dp2o status --json"))
def status(params: Params = PARAMS, as_json: AsJson = False) -> None:
    """What DVC says is out of date, whether a run is at work, and the latest figures."""
    from components.pipeline.repro import check_repository  # noqa: PLC0415
    from components.pipeline.status import status_of  # noqa: PLC0415

    with command("status", params) as context:
        check_repository(context.root)
        found = status_of(context.root)
        figures, headline = _figures_or_why_not(context.root)
    changed = found.out_of_date
    if as_json:
        print_json({"out_of_date": changed, "run": found.run and asdict(found.run), "results": figures})
        return
    if found.run:
        print(f"{found.run.text}: what it has not made yet is out of date")
    print(f"out of date: {', '.join(changed)}" if changed else "everything is up to date")
    for stage, reasons in changed.items():
        print(f"  {stage}: {_reasons(reasons)}")
    print(headline)


def _figures_or_why_not(root: Path) -> tuple[dict[str, Any] | None, str]:
    """The latest figures and what to say of them: a file of an older version must not keep the status from people."""
    try:
        latest = _Latest.read(root)
    except BadInput as error:
        return None, str(error)
    return (latest.as_json(), latest.evaluation.headline) if latest else (None, "no evaluation yet")


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
        latest = _Latest.read(context.root)
        if latest is None:
            raise BadInput(f"{context.root / paths.EVALUATION} does not exist: `dp2o run` makes it")
    if as_json:
        print_json(latest.as_json())
        return
    evaluation, version = latest.evaluation, latest.registration
    for kind, compared in evaluation.kinds.items():
        print(f"{compared.images} test {kind}, of {compared.photos} photos")
        for name, row in compared.metrics.items():
            change = f"{row.base:.4f} -> {row.aligned:.4f}"
            interval = f"{row.difference:+.4f} ({row.ci_low:+.4f} .. {row.ci_high:+.4f})"
            role = "rewarded" if row.in_reward else "held out"
            print(f"  {name:<16} {change:<22} {interval:<34} {role:<9} {row.verdict}")
    for line in _mixtures(evaluation):
        print(line)
    if version is not None:
        print(f"model: {version.model} version {version.version}")
    print(f"{evaluation.headline}; report: {latest.page or 'not made yet'}")


def _mixtures(evaluation: Evaluation) -> Iterator[str]:
    """The reward and what was held out of it, of each mixture less the base."""
    shown = ["reward", *evaluation.held_out]
    if evaluation.mixtures:
        yield "base and aligned mixed, less the base"
    for name, mixture in evaluation.mixtures.items():
        known = {measure: row for measure, row in mixture.measures.items() if measure in shown}
        yield f"  {name}, {mixture.passes} predictions a restoration"
        for measure, row in known.items():
            yield f"    {measure:<16} {row.difference:+.4f} ({row.ci_low:+.4f} .. {row.ci_high:+.4f})"


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
    with command("preset", params) as context:
        from components.pipeline import presets  # noqa: PLC0415

        if name is None:
            for known in presets.names():
                print(f"{known:<8} {presets.title(known)}")
            return
        presets.apply(name, context.params, force)
    print(f"{context.params}: {presets.title(name)}")


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
    """A preset's lines for params.yaml, what it lacks and where that belongs; and all other metrics."""
    with command("metrics"):
        from components.metrics.table import PRESETS, TABLE  # noqa: PLC0415
        from components.metrics.weights import required  # noqa: PLC0415

        if preset not in PRESETS:
            raise BadInput(f"--preset {preset}: there is none of that name; the presets are {', '.join(PRESETS)}")
        chosen = PRESETS[preset]
        roles = {"fr": list(chosen.fr), "nr": list(chosen.nr), "held_out": list(chosen.held_out)}
        named = [name for names in roles.values() for name in names]
        missing, others = {}, {}
        for name in named:
            try:
                required(name)
            except BadInput as error:
                missing[name] = str(error)
        for name, row in TABLE.items():
            if name not in named:
                arrow = "higher" if row.higher_is_better else "lower"
                others[name] = f"{row.kind}, {arrow} is better, {row.value_range}: {row.about}"
    if as_json:
        print_json({"preset": preset, "score": roles, "missing": missing, "others": others})
        return
    print("score:")
    for role, names in roles.items():
        print(f"  {role}: [{', '.join(names)}]")
    print("# others, and package.module:NAME of your own (CONTRIBUTING.md):")
    for name, about in others.items():
        print(f"#   {name:<16}{about}")
    for text in missing.values():
        print(f"missing: {text}")
    if not missing:
        print("all weights are in place")


@dataclass(frozen=True)
class _Latest:
    """What the last run left: the figures, the registered version, and the report's path."""

    evaluation: Evaluation
    registration: Registration | None
    page: Path | None

    @classmethod
    def read(cls, root: Path) -> "_Latest | None":
        """None before any evaluation.

        Raises:
            BadInput: a file is damaged.
        """
        evaluation, registration = Evaluation.read_if_there(root), Registration.read_if_there(root)
        page = root / paths.PAGE
        return None if evaluation is None else cls(evaluation, registration, page if page.is_file() else None)

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        kept = {"headline", "images", "photos", "confidence", "reward", "win_rate", "metrics", "has_hr", "without_hr"}
        return self.evaluation.model_dump(mode="json", include=kept) | {
            "version": None if self.registration is None else self.registration.model_dump(mode="json"),
            "report": None if self.page is None else str(self.page),
        }
