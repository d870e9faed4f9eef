"""The pipeline as a Prefect flow: what `dvc repro` does on one machine, on many.

For each stage that DVC says is out of date, one process a part runs through a launcher, a Prefect task for each; what
they made is recorded in dvc.lock, committed and pushed. No image passes through the flow itself.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import BoundedSemaphore
from typing import Annotated, Literal, Self, cast
from uuid import UUID

import yaml
from prefect import flow, get_run_logger, task
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    update_progress_artifact,
)
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture
from prefect.task_runners import ThreadPoolTaskRunner
from pydantic import BaseModel, ConfigDict, Field, model_validator

from components.artifacts.store import Store
from components.errors import BadInput, UserError, tell
from components.stages import STAGES
from components.task.document import Result
from flows.cancelling import ended_with_the_run, this_run
from flows.checkout import Checkout, checked_out
from flows.launchers.base import Launcher
from flows.launchers.kubernetes import KubernetesLauncher
from flows.launchers.local import LocalLauncher
from flows.launchers.settings import KubernetesSettings, Name
from flows.project import Project
from flows.stages import Mapped, Part, Reporter, Runner

STORE_VARIABLE = "DP2O_STORE"
MOST_TASKS = 64
"""Parts followed at once at the most, whatever `concurrency` says: each holds a thread."""


class LocalSettings(BaseModel):
    """Child processes of the machine that the flow runs on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["local"] = "local"
    folder: Path = Field(
        default=Path(".dvc/tmp/dp2o"),
        description="records and logs of the processes, relative to where the flow runs; a restarted flow adopts by it",
    )
    run_timeout: float | None = Field(default=None, gt=0, description="seconds a process may run; empty: no limit")


OWN_TEMPLATE = Path("/etc/dp2o/stage-job.yaml")
"""Where the flow's pod has the cluster's own Job template, if it has one."""


def own_templates(folder: Path) -> dict[str, Path]:
    """Job templates of single stages in a folder: `train-job.yaml`."""
    found = {path.name.removesuffix("-job.yaml"): path for path in sorted(folder.glob("*-job.yaml"))}
    return {stage: path for stage, path in found.items() if stage in STAGES}


class ClusterSettings(KubernetesSettings):
    """Jobs of a Kubernetes cluster; what the flow's pod knows of its cluster is the default."""

    kind: Literal["kubernetes"] = "kubernetes"
    image: str = Field(
        default_factory=lambda: os.environ.get("DP2O_COMPONENTS_IMAGE", ""),
        min_length=1,
        validate_default=True,
        description="components image by digest; default: DP2O_COMPONENTS_IMAGE of the flow's pod",
    )
    queue: Name | None = Field(
        default_factory=lambda: os.environ.get("DP2O_QUEUE") or None,
        description="Kueue LocalQueue; default: DP2O_QUEUE of the flow's pod, else none",
    )
    job_template: Path = Field(
        default_factory=lambda: OWN_TEMPLATE if OWN_TEMPLATE.is_file() else Path("k8s/stage-job.yaml"),
        description="the Job that is filled in for each part; default: the cluster's own, else k8s/stage-job.yaml",
    )
    stage_templates: dict[str, Path] = Field(
        default_factory=lambda: own_templates(OWN_TEMPLATE.parent),
        description="by stage, where it is another Job; default: the cluster's own, <stage>-job.yaml beside the other",
    )


LauncherSettings = Annotated[LocalSettings | ClusterSettings, Field(discriminator="kind")]


class AlignSettings(BaseModel):
    """How a run is done; never what comes out of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    launcher: LauncherSettings = Field(default=LocalSettings(), description="where the stages' processes run")
    store: str | None = Field(
        default=None,
        description="URL of the data, s3://bucket/prefix or file:///folder; default: DP2O_STORE, then DVC's default "
        "remote, then (local launcher) DVC's cache",
    )
    concurrency: int = Field(default=4, ge=1, le=MOST_TASKS, description="processes at once at the most")
    shards: dict[str, int] = Field(
        default={},
        description="parts of score and evaluate, by stage; default: generate.shards of params.yaml, which alone says "
        "how many parts generate has",
    )
    gpus: dict[str, int] = Field(
        default={}, description="GPUs a process, by stage, e.g. {generate: 1, score: 1, train: 8, evaluate: 1}"
    )
    train_nodes: int = Field(
        default=1,
        ge=1,
        description="machines that train together, each with train's GPUs; more than one: kubernetes, "
        "with k8s/options/train-nodes installed",
    )
    settings: list[str] = Field(
        default=[], description="block.key=value for every process, of settings that change no result: generate.batch=4"
    )
    crash_retries: int = Field(default=1, ge=0, description="how often a process that crashed is started again")

    @model_validator(mode="after")
    def _one_machine_is_here(self) -> Self:
        if self.train_nodes > 1 and self.launcher.kind == "local":
            raise ValueError(
                f"train_nodes is {self.train_nodes}, but the local launcher has one machine; leave it out, or set "
                "launcher.kind to kubernetes"
            )
        return self


DEFAULTS = AlignSettings()


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
    with checked_out(repository, branch) as checkout:
        project = Project(checkout.root)
        wanted = [name for name in project.stages if not stages or name in stages]
        unknown = sorted(set(stages or []) - set(project.stages))
        if unknown:
            raise BadInput(f"stages {unknown} are not in dvc.yaml; it has {', '.join(project.stages)}")
        store = Store(store_url(project, options))
        commit = checkout.commit
        log.info("store %s, launcher %s, commit %s", store.url, options.launcher.kind, commit.sha[:12] or "none")
        progress = cast(UUID, create_progress_artifact(0.0, key="align-progress", description="stages up to date"))
        ran: dict[str, str] = {}
        with launcher_of(options, checkout) as launcher:
            runner = Runner(
                project,
                store,
                launcher,
                this_run(),
                mapped_by_prefect(options.concurrency),
                options.shards,
                options.gpus,
                [*options.settings, *cache_settings(options, checkout)],
                environment(project, checkout, options),
                commit,
                options.crash_retries,
                options.train_nodes,
            )
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
        create_markdown_artifact(_summary(outcome, project, repository, branch), key="align", description="what ran")
        log.info("bytes through the flow: %s", json.dumps(figures))
        log.info("%s", _headline(outcome))
    return outcome


def store_url(project: Project, options: AlignSettings) -> str:
    """Where the data is.

    Raises:
        BadInput: a cluster needs a store that its pods reach, and none is named.
    """
    remote = project.remote_url()
    named = options.store or os.environ.get(STORE_VARIABLE) or remote
    if named:
        return named
    if options.launcher.kind != "local":
        raise BadInput(
            f"no store: set options.store or {STORE_VARIABLE} to s3://bucket/prefix, or give the project a default "
            "remote (`dvc remote add -d storage s3://bucket/prefix`)"
        )
    return project.cache_url


@contextmanager
def launcher_of(options: AlignSettings, checkout: Checkout) -> Iterator[Launcher]:
    """The launcher of the options. What it started, and what this run started before, is deleted at the end, and as
    soon as the run is cancelled; not where a cluster's Jobs outlive a flow's process that must go."""
    launcher: Launcher
    leave = None
    if isinstance(options.launcher, ClusterSettings):
        on_cluster = KubernetesLauncher(options.launcher)
        launcher, leave = on_cluster, partial(on_cluster.close, delete=False)
    else:
        chosen = options.launcher
        launcher = LocalLauncher(Path.cwd() / chosen.folder, project=checkout.root, run_timeout=chosen.run_timeout)
    with ended_with_the_run(launcher, leave):
        yield launcher


def cache_settings(options: AlignSettings, checkout: Checkout) -> list[str]:
    """On this machine and in the user's own folder, finished work is where `dvc repro` has it."""
    if isinstance(options.launcher, LocalSettings) and checkout.branch is None:
        return [f"run.cache={checkout.root / 'cache'}"]
    return []


def environment(project: Project, checkout: Checkout, options: AlignSettings) -> dict[str, str]:
    """Of the stages' processes, where they run on this machine: a workspace's own database would vanish with it.

    Raises:
        BadInput: a clone has no place for a database either.
    """
    if not isinstance(options.launcher, LocalSettings) or os.environ.get("MLFLOW_TRACKING_URI"):
        return {}
    uri = project.settings.register_.tracking_uri
    home = checkout.root if checkout.branch is None else Path(checkout.repository)
    if uri.startswith("sqlite:///"):
        if not home.is_dir():
            raise BadInput(f"register.tracking_uri {uri} would vanish with the clone: set MLFLOW_TRACKING_URI")
        uri = f"sqlite:///{home.resolve() / uri.removeprefix('sqlite:///')}"
    return {"MLFLOW_TRACKING_URI": uri}


def mapped_by_prefect(concurrency: int) -> Mapped:
    """Parts as Prefect tasks, a task a part: their states, logs and times are in Prefect's page of the run."""
    places = BoundedSemaphore(concurrency)

    def mapped(parts: Sequence[Part], perform: Callable[[Part, Reporter], Result]) -> list[Result]:
        by_label: dict[tuple[str, str, str], Part] = {(part.stage, part.action, part.label): part for part in parts}

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
    registration = project.root / "reports/registration.json"
    evaluation = project.root / "reports/evaluation.json"
    if evaluation.is_file():
        lines.append(f"\n{json.loads(evaluation.read_text()).get('headline', '')}")
    if registration.is_file():
        made = json.loads(registration.read_text())
        lines.append(f"\nModel `{made['model']}` version {made['version']}, MLflow run `{made['run_id']}`"
                     f"{_mlflow_link(made['run_id'])}")  # fmt: skip
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
