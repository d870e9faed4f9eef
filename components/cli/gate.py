"""What decides which model serves: freeze, promote, reject, roll back, and the history of it."""

import time
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from components.artifacts import paths
from components.cli.context import MODELS, PARAMS, AsJson, Overrides, Params, command, examples, print_json, show
from components.errors import BadInput, ExitCode
from components.in_use.folder import in_use
from components.lineage_events import Datasets, work_events
from components.runtime.process import set_up_process

if TYPE_CHECKING:
    from components.promote.outcome import Outcome

commands = typer.Typer()


class PolicyName(StrEnum):
    """Who decides once the gate has said yes."""

    MANUAL = "manual"
    AUTOMATIC = "automatic"


VersionUri = Annotated[
    str | None, typer.Argument(help="name@alias or name/version; default: the settings' model, alias candidate.")
]
Reason = Annotated[str, typer.Option(help="Why; recorded for good.")]


@commands.command(rich_help_panel=MODELS, epilog=examples("dp2o freeze && dvc add data/benchmark"))
def freeze(override: Overrides = None, params: Params = PARAMS, as_json: AsJson = False) -> None:
    """Freeze a first benchmark set from the test split, where there is none; `promote` does it by itself otherwise."""
    with command("freeze", params, override, logs=True, computes=True) as context:
        from components.gate import judging  # noqa: PLC0415

        name, is_new = judging.freeze(*context.project)
    text = f"benchmark set {name} {'is frozen from the test split' if is_new else 'is there already'}"
    show(as_json, {"benchmark": name, "new": is_new}, text)


@commands.command(
    rich_help_panel=MODELS,
    epilog=examples(
        "dp2o promote   (gate the candidate; with gate.policy manual it then waits)",
        "dp2o promote --approved-by ada   (promote it if it passes; a report that still holds is not made again)",
        "dp2o promote dp2o-sr-tiny-flow-dev/3 --json | jq '.report.checks[] | select(.verdict == \"no\")'",
    ),
)
def promote(
    version_uri: VersionUri = None,
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
    override: Overrides = None,
    params: Params = PARAMS,
    as_json: AsJson = False,
) -> None:
    """Make a version the champion if it passes the gate; exit code 3 if it does not, or waits for an approval."""
    with command("promote", params, override, logs=True) as context:
        from components.gate import verdicts  # noqa: PLC0415
        from components.promote import promotion  # noqa: PLC0415

        if (reason or report) and not approved_by:
            raise BadInput("--reason and --report belong to an approval: give --approved-by as well")
        set_up_process(context.settings)
        name = context.settings.register_.model_name
        with (
            in_use(context.root, context.root / context.settings.run.cache),
            work_events("promote", context.root, name, is_stage=False) as lineage,
        ):
            outcome = promotion.promote(
                *context.project,
                version_uri,
                promotion.Approval(approved_by, reason, report) if approved_by else None,
                policy.value if policy else None,
                new_benchmark,
                again,
            )
            _add_decision(lineage, name, outcome)
    checks = f"{verdicts.as_text(outcome.report)}\n" if outcome.report else ""
    show(as_json, outcome.as_json(), f"{checks}{outcome.text}")
    if outcome.decision in {"refused", "rejected", "awaits approval"}:
        raise typer.Exit(ExitCode.REFUSED)


def _add_decision(lineage: Datasets, project: str, outcome: "Outcome") -> None:
    """What was judged on what, and which version the alias is at then."""
    report = outcome.report
    if report is not None:
        lineage.inputs |= {f"models:/{report.challenger}": "", f"{project}/data/benchmark/{report.benchmark}": ""}
        lineage.outputs[f"{project}/{paths.GATE_REPORT.as_posix()}"] = report.question
    if outcome.decision == "promoted":
        version = f"models:/{outcome.model}/{outcome.version}"
        lineage.outputs |= {version: "", f"models:/{outcome.model}@champion": version}


@commands.command(rich_help_panel=MODELS, epilog=examples('dp2o reject --by ada --reason "grain in skies"'))
def reject(
    by: Annotated[str, typer.Option(help="Who says no; recorded for good.")],
    reason: Reason = "",
    version_uri: Annotated[
        str | None, typer.Argument(help="name@alias or name/version; default: the settings' model, alias challenger.")
    ] = None,
    params: Params = PARAMS,
    as_json: AsJson = False,
) -> None:
    """Say no to a version that passed the gate and waits: it is recorded, and the alias challenger goes."""
    with command("reject", params) as context:
        from components.promote import rejection  # noqa: PLC0415

        outcome = rejection.reject(*context.project, by, reason, version_uri)
    show(as_json, outcome.as_json(), outcome.text)


@commands.command(
    rich_help_panel=MODELS,
    epilog=examples("dp2o rollback --by ada   (to the champion before this one)", "dp2o rollback --to 3 --by ada"),
)
def rollback(
    by: Annotated[str, typer.Option(help="Who does it; recorded for good.")],
    to: Annotated[int | None, typer.Option(help="An earlier champion's version; default: the last one.")] = None,
    reason: Reason = "",
    params: Params = PARAMS,
    as_json: AsJson = False,
) -> None:
    """Give the alias champion back to an earlier champion; nothing else moves."""
    with command("rollback", params) as context:
        from components.promote.rollback import rollback as roll_back  # noqa: PLC0415

        outcome = roll_back(*context.project, by, to, reason)
    show(as_json, outcome.as_json(), outcome.text)


@commands.command(
    rich_help_panel=MODELS,
    epilog=examples(
        "dp2o history",
        "dp2o history --json | jq '.records[-1]'",
        "dp2o history --unchecked   (when it is said to be broken: what there is)",
        "dp2o history --anchor   (gate.anchor is new, and the history is right)",
    ),
)
def history(
    unchecked: Annotated[
        bool, typer.Option("--unchecked", help="Show it although signatures or the anchor are not right.")
    ] = False,
    anchor: Annotated[
        bool, typer.Option("--anchor", help="Write the anchor anew: the history as it is now is right, you say.")
    ] = False,
    params: Params = PARAMS,
    as_json: AsJson = False,
) -> None:
    """Promotions, rollbacks and refusals, oldest first, with who and why."""
    with command("history", params) as context:
        from components.promote import status  # noqa: PLC0415

        if anchor:
            status.anchored_anew(*context.project)
        found, alias = status.history(*context.project, checked=not unchecked)
    if as_json:
        records = [record.as_json() for record in found.records]
        print_json({"records": records, "champion": found.champion, "alias": alias})
        return
    for record in found.records:
        content, when = record.content, time.strftime("%Y-%m-%d %H:%M", time.gmtime(record.created_ms / 1000))
        outcome = f"lost to record {record.lost_to}" if record.status == "lost" else ""
        who = f"{content.by} ({f'key of {record.signer}' if record.signer else 'not signed'})"
        print(f"{record.number} {when} UTC {content.kind} by {who}: {content.reason} {outcome}".rstrip())
    print(f"champion: {'none' if found.champion is None else f'version {found.champion}'}")
    if alias != found.champion:
        print(f"the alias is at {alias}: cut off, or moved by hand; the next promote or rollback puts it right")
