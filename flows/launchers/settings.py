"""What the kubernetes launcher must be told about a cluster."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")]
"""A name of an object of Kubernetes."""
Quantity = Annotated[str, Field(pattern=r"^\d+(\.\d+)?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$")]
Seconds = Annotated[int, Field(gt=0)]

DEFAULT = "default"
MINUTE, HOUR = 60, 3600


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Resources(_Frozen):
    """What a stage's pod gets. Memory is request and limit at once: what is promised is what may be used."""

    cpu: Quantity = Field(default="2", description="CPU request; there is no CPU limit, idle cores may be used")
    memory: Quantity = Field(default="8Gi", description="memory request and limit; more is an out-of-memory kill")


class ApiSettings(_Frozen):
    """How the launcher treats the API server."""

    patience: float = Field(
        default=900,
        gt=0,
        description="seconds for which 429, 5xx and refused connections are tried again before giving up",
    )
    first_pause: float = Field(default=0.25, gt=0, description="seconds before the first new try; doubles, with jitter")
    longest_pause: float = Field(
        default=30, gt=0, description="seconds that a pause grows to; a longer Retry-After is honoured"
    )
    request_timeout: float = Field(default=30, gt=0, description="seconds until an unanswered request counts as failed")
    watch_timeout: Seconds = Field(
        default=240,
        description="seconds after which a watch is renewed; a connection that died without a word is noticed then",
    )
    relist: float = Field(default=900, gt=0, description="seconds between full lists, a safety net under the watches")
    parallel: int = Field(default=8, gt=0, description="requests at once, watches and logs not counted")

    @model_validator(mode="after")
    def _pauses(self) -> Self:
        if self.first_pause > self.longest_pause:
            raise ValueError(
                f"api.first_pause {self.first_pause:g} is longer than api.longest_pause {self.longest_pause:g}; "
                "raise the latter"
            )
        return self


class KubernetesSettings(_Frozen):
    """One cluster, as one flow uses it."""

    namespace: Name = "dp2o"
    image: str = Field(min_length=1, description="components image; by digest, so that all shards run the same code")
    job_template: Path = Field(
        default=Path("k8s/stage-job.yaml"), description="the Job that is filled in for each shard"
    )
    stage_templates: dict[str, Path] = Field(
        default={}, description="by stage, where it is another Job, for example one with the network cards of training"
    )
    service_account: Name = Field(default="dp2o-stage", description="of the stage's pods; it needs no rights")
    gpu_resource: str = Field(
        default="nvidia.com/gpu", min_length=1, description="resource name of the GPU kind to use"
    )
    queue: Name | None = Field(default=None, description="Kueue LocalQueue; without one, pods wait at the scheduler")
    priority_class: Name | None = None
    secrets: tuple[Name, ...] = Field(
        default=("dp2o-s3",), description="Secrets given to stages as environment; must exist"
    )
    optional_secrets: tuple[Name, ...] = Field(default=("dp2o-mlflow",), description="the same; may be missing")
    promoter_secrets: tuple[Name, ...] = Field(
        default=("dp2o-promoter",),
        description="given to the gate's work alone, in place of what the others set; may be missing",
    )
    config_maps: tuple[Name, ...] = Field(
        default=("dp2o-settings",), description="ConfigMaps given as environment; must exist"
    )
    resources: dict[str, Resources] = Field(
        default={DEFAULT: Resources()}, description=f"by stage; `{DEFAULT}` for those not named"
    )
    run_timeout: Seconds = Field(
        default=24 * HOUR, description="seconds a pod may run, counted from when it has a node"
    )
    queue_timeout: Seconds = Field(
        default=72 * HOUR,
        description="seconds a Job may wait in a queue, for a node or for its image, before it is given up",
    )
    image_grace: Seconds = Field(
        default=5 * MINUTE,
        description="seconds an image may fail to be pulled, or a container to be made, before that is an error",
    )
    unschedulable_grace: Seconds = Field(
        default=30 * MINUTE,
        description="seconds a pod may fit no node before that is an error; a pod that only waits for others to free "
        "what it needs has the queue timeout instead",
    )
    ttl: Seconds = Field(
        default=HOUR, description="seconds a finished Job stays, for people to look at, if nobody deletes it"
    )
    api: ApiSettings = ApiSettings()

    @model_validator(mode="after")
    def _default_resources(self) -> Self:
        if DEFAULT not in self.resources:
            raise ValueError(f"resources has no `{DEFAULT}`; add one for the stages that are not named")
        return self

    def resources_of(self, stage: str) -> Resources:
        """Those named for the stage, else the default."""
        return self.resources.get(stage, self.resources[DEFAULT])

    def template_of(self, stage: str) -> Path:
        """Path of the Job template named for the stage, else of the one for all."""
        return self.stage_templates.get(stage, self.job_template)
