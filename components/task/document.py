"""The documents of a store: what a stage shall make and from what, and what its parts made."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from components.artifacts import digests
from components.artifacts.shards import Shard
from components.artifacts.store import Content, Store
from components.errors import BadInput
from components.invocation import Invocation
from components.stages import Action

FOLDER = "/dp2o/"
"""Between a store's URL and the key of a document in it."""


class Input(BaseModel):
    """What a stage reads.

    Attributes:
        path: relative to the project's root.
        md5: as DVC counts it; of a folder that of its listing, ending in `.dir`.
        size: bytes in all.
        origin: `store`, or `image`: a part of the code's own checkout, whose content must be this.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    md5: str
    size: int
    origin: Literal["store", "image"]


class Task(BaseModel):
    """All that determines what a stage makes; its digest names the results.

    Attributes:
        stage: which.
        store: URL of inputs and outputs.
        params: text of params.yaml.
        inputs: what the stage depends on.
        outputs: files and folders that it makes, relative to the project's root.
        lock: text of dvc.lock, for the stage that records it in the registry.
        commit: git commit of the code, likewise.
        dirty: whether the code differs from that commit, likewise.
        arguments: a command of the component instead of its stage, for example `promote`; its outputs are what is there
            of `outputs` in the end, also when it ends with a no (exit code 3).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: str
    store: str
    params: str
    inputs: list[Input]
    outputs: list[str]
    lock: str = ""
    commit: str = ""
    dirty: bool = False
    arguments: list[str] = []

    @property
    def digest(self) -> str:
        """First 32 hex digits of the sha256 over everything but the store's place."""
        return digests.of_json(self.model_dump(mode="json", exclude={"store"}))[:32]

    @property
    def key(self) -> str:
        """Of the document in the store."""
        return f"tasks/{self.stage}-{self.digest}.json"

    @property
    def url(self) -> str:
        """Of the document, as `--task` takes it."""
        return f"{self.store}{FOLDER}{self.key}"

    def invocation(self, action: Action = "run", shard: Shard | None = None) -> Invocation:
        """Of a process that does this part of it, or all."""
        return Invocation(self.stage, shard=shard, action=action, task=self.url)

    def result_key(self, invocation: Invocation) -> str:
        """Of the result of a part in the store."""
        part = invocation.shard.name if invocation.shard else "whole"
        return f"results/{self.stage}-{self.digest}/{invocation.action}-{part}.json"


class Result(BaseModel):
    """What a part of a task made, by path relative to the project's root."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    outputs: dict[str, tuple[str, int]]
    figures: dict[str, float] = {}

    def contents(self) -> dict[str, Content]:
        """Outputs as contents."""
        return {path: Content(md5, size) for path, (md5, size) in self.outputs.items()}


def read_result(store: Store, task: Task, invocation: Invocation) -> Result | None:
    """What was made before, if all of it is still in the store; otherwise None."""
    content = store.read(task.result_key(invocation))
    if content is None:
        return None
    try:
        result = Result.model_validate(content)
    except ValidationError:
        return None  # of an earlier version
    return result if all(store.has(made) for made in result.contents().values()) else None


def read_task(stage: str, url: str) -> tuple[Task, Store]:
    """The task document at `url`, and its store.

    Raises:
        BadInput: there is none at that URL, or it is of another stage or version.
    """
    base, found, key = url.partition(FOLDER)
    if not found:
        raise BadInput(f"--task {url} is no document of a store: expected <store>/dp2o/tasks/….json")
    store = Store(base)
    content = store.read(key)
    if content is None:
        raise BadInput(f"--task {url}: there is no such document")
    try:
        task = Task.model_validate(content)
    except ValidationError as error:
        raise BadInput(f"--task {url} is not of this version: {error}") from error
    if task.stage != stage:
        raise BadInput(f"--task {url} is of {task.stage}, this is {stage}")
    return task, store
