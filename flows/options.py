"""Options of a run: where its processes run, where its data is, and how much at once; never what comes out of it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from components.errors import BadInput
from components.lineage_events import parent_of
from components.promote.notify import OF_THE_FLOW, VARIABLE
from components.settings.secret import PublicUrl
from components.stages import STAGES
from components.storage.store import Store
from flows.cancelling import ended_with_the_run, flow_name, this_run
from flows.checkout import Checkout
from flows.launchers.base import Launcher
from flows.launchers.kubernetes import KubernetesLauncher
from flows.launchers.local import LocalLauncher
from flows.launchers.settings import KubernetesSettings, Name
from flows.project import Project
from flows.run_key import run_key
from flows.stages import Mapped, Runner, in_turn

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
    store: PublicUrl | None = Field(
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


def runner_of(
    options: AlignSettings,
    checkout: Checkout,
    project: Project,
    store: Store,
    launcher: Launcher,
    mapped: Mapped = in_turn,
) -> Runner:
    """What brings stages up to date and runs the gate's work, within a flow run."""
    return Runner(
        project,
        store,
        launcher,
        this_run(),
        mapped,
        options.shards,
        options.gpus,
        [*options.settings, *cache_settings(options, checkout)],
        environment(project, checkout, options) | parent_of(flow_name(), this_run(), checkout.commit.sha),
        checkout.commit,
        options.crash_retries,
        options.train_nodes,
        run_key(Path.cwd() / options.launcher.folder if isinstance(options.launcher, LocalSettings) else None),
        secrets_of(project),
    )


def secrets_of(project: Project) -> dict[str, str]:
    """What no task may have, for the gate's work, which takes it where its own Secrets have no other."""
    webhook = os.environ.get(VARIABLE) or project.settings.register_.webhook.get_secret_value()
    return {OF_THE_FLOW: webhook} if webhook else {}


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
