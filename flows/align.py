"""The pipeline as a Prefect flow: what `dvc repro` does on one machine, on many.

For each stage that DVC says is out of date, one process a part runs through a launcher, a Prefect task for each; what
they made is recorded in dvc.lock, committed and pushed. No image passes through the flow itself.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from threading import BoundedSemaphore
from typing import cast
from uuid import UUID

import yaml
from prefect import flow, get_run_logger, task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture
from prefect.task_runners import ThreadPoolTaskRunner
from pydantic import BaseModel

from components.artifacts.evaluation import Evaluation
from components.artifacts.registration import Registration
from components.errors import BadInput, UserError, tell
from components.in_use.folder import in_use
from components.in_use.store import using
from components.redaction import scrubbed
from components.stages.invocation import Invocation
from components.storage.store import Store
from components.task.document import Result
from flows import pages
from flows.cancelling import this_run
from flows.checkout import checked_out
from flows.options import DEFAULTS, MOST_TASKS, AlignSettings, launcher_of, runner_of, store_url
from flows.project import Project
from flows.reporter import Reporter
from flows.stages import Mapped, Perform


class Aligned(BaseModel):
    """What a run came to.

    Attributes:
        ran: stages that ran, with the reason, in their order.
        commit: that records them; None where nothing was committed.
        figures: bytes that went through the flow itself, to and from the store.
    """

    ran: dict[str, str]
    commit: str | None
    figures: dict[str, int]


@flow(name="align", task_runner=ThreadPoolTaskRunner(max_workers=MOST_TASKS))  # type: ignore[arg-type]
def align(
    repository: str = ".",
    branch: str | None = None,
    stages: list[str] | None = None,
    options: AlignSettings = DEFAULTS,
) -> Aligned:
    """Bring a project up to date: every stage that DVC says is out of date runs, and dvc.lock is committed.

    Args:
        repository: URL or path of the git repository; with no branch a folder here, which is worked in.
        branch: cloned, worked on, committed and pushed to; empty: the folder is used as it is and nothing is committed,
            as with `dvc repro`.
        stages: only these, and not what depends on them; empty: all.
        options: launcher, store, concurrency, parts, GPUs.

    Raises:
        BadInput: the project, the store or the launcher cannot be used; the message says what to change.
        WorkFailedError: a process failed for good; the message has its name and the way out.
    """
    log = get_run_logger()
    with ExitStack() as stack:
        stack.enter_context(scrubbed())
        checkout = stack.enter_context(checked_out(repository, branch))
        project = Project(checkout.root)
        wanted = _wanted(project, stages)
        store = Store(store_url(project, options))
        # From before the first look at results until the commit names them, nobody may take them away.
        stack.enter_context(in_use(checkout.root, checkout.root / project.settings.run.cache))
        stack.enter_context(using(store, f"align {this_run()}"))
        sha = checkout.commit.sha
        log.info("store %s, launcher %s, commit %s", store.url, options.launcher.kind, sha[:12] or "none")
        progress = cast(UUID, create_progress_artifact(0.0, key="align-progress", description="stages up to date"))
        ran: dict[str, str] = {}
        with launcher_of(options, checkout) as launcher:
            runner = runner_of(options, checkout, project, store, launcher, mapped_by_prefect(options.concurrency))
            for number, name in enumerate(wanted, 1):
                reason = runner.update(name)
                if reason:
                    ran[name] = reason
                    log.info("%s ran: %s", name, reason)
                else:
                    log.info("%s is up to date", name)
                update_progress_artifact(progress, 100.0 * number / len(wanted))
        saved = checkout.save(project.written(), _message(ran)) if ran else None
        if branch is None and store.url == project.cache_url:
            project.check_out(wanted)
        figures = {"bytes_from_store": store.fetched, "bytes_to_store": store.kept}
        outcome = Aligned(ran=ran, commit=saved, figures=figures)
        pages.show("align", _summary(outcome, project, repository, branch), "what ran")
        log.info("bytes through the flow: %s", json.dumps(figures))
        log.info("%s", _headline(outcome))
    return outcome


def _wanted(project: Project, stages: list[str] | None) -> list[str]:
    unknown = sorted(set(stages or []) - set(project.stages))
    if unknown:
        raise BadInput(f"stages {unknown} are not in dvc.yaml; it has {', '.join(project.stages)}")
    return [name for name in project.stages if not stages or name in stages]


def mapped_by_prefect(concurrency: int) -> Mapped:
    """Parts as Prefect tasks, a task a part: their states, logs and times are in Prefect's page of the run."""
    places = BoundedSemaphore(concurrency)

    def mapped(parts: Sequence[Invocation], perform: Perform) -> list[Result]:
        by_label: dict[tuple[str, str, str], Invocation] = {
            (part.stage, part.action, part.label): part for part in parts
        }

        # Strings alone are its parameters: Prefect shows and stores them. Retries are the runner's, which knows why.
        @task(name="part", task_run_name="{stage} {action} {label}", persist_result=False, cache_policy=NO_CACHE)
        def perform_part(stage: str, action: str, label: str) -> Result:
            with places:
                return perform(by_label[stage, action, label], cast(Reporter, get_run_logger()))

        futures: list[PrefectFuture[Result]] = [perform_part.submit(*key) for key in by_label]
        for future in futures:  # all of them, before the first failure is raised: what the others make is kept
            future.wait()
        return [future.result() for future in futures]

    return mapped


def _message(ran: dict[str, str]) -> str:
    reasons = "\n".join(f"{name}: {reason}" for name, reason in ran.items())
    return f"align: {', '.join(ran)}\n\n{reasons}\n"


def _headline(outcome: Aligned) -> str:
    if not outcome.ran:
        return "everything was up to date"
    where = f"commit {outcome.commit[:12]}" if outcome.commit else "dvc.lock, not committed"
    return f"{', '.join(outcome.ran)} ran; recorded in {where}"


def _summary(outcome: Aligned, project: Project, repository: str, branch: str | None) -> str:
    """Page of the run: what ran and why, and where to look."""
    rows = "\n".join(f"| {name} | {reason} |" for name, reason in outcome.ran.items())
    lines = [f"**{_headline(outcome)}**", ""]
    if outcome.ran:
        lines += ["| stage | why |", "|---|---|", rows, ""]
    lines.append(f"Repository `{repository}`" + (f", branch `{branch}`" if branch else ""))
    evaluation, made = Evaluation.read_if_there(project.root), Registration.read_if_there(project.root)
    if evaluation is not None:
        lines.append(f"\n{evaluation.headline}")
    if made is not None:
        link = _mlflow_link(made.run_id)
        lines.append(f"\nModel `{made.model}` version {made.version}, MLflow run `{made.run_id}`{link}")
    lines.append("\nReport: `reports/index.html` of that commit (`dvc pull reports/index.html`).")
    return "\n".join(lines)


def _mlflow_link(run_id: str) -> str:
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    return f" ([open]({uri.rstrip('/')}/#/runs/{run_id}))" if uri.startswith("http") else ""


def main() -> None:
    """The flow from a command line, without a deployment."""
    parser = argparse.ArgumentParser(prog="python -m flows.align", description="What `dvc repro` does, by a launcher.")
    parser.add_argument("repository", nargs="?", default=".", help="folder, or URL together with --branch")
    parser.add_argument("--branch", help="clone it, and commit and push there; default: the folder as it is, no commit")
    parser.add_argument("--stage", action="append", help="only this one; may be given several times")
    parser.add_argument("--options", type=Path, help="YAML of AlignSettings: launcher, store, concurrency, gpus …")
    parsed = parser.parse_args()
    given = yaml.safe_load(parsed.options.read_text()) if parsed.options else {}
    try:
        align(parsed.repository, parsed.branch, parsed.stage, AlignSettings.model_validate(given))
    except UserError as error:
        sys.exit(tell("align", error))


if __name__ == "__main__":
    main()
