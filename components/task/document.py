"""The documents of a store: what a stage shall make and from what, and what its parts made."""

from __future__ import annotations

import logging
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from components.artifacts.shards import Shard
from components.errors import BadInput
from components.stages import Action
from components.stages.invocation import Invocation
from components.storage import digests, places
from components.storage.store import Content, Store
from components.task import seal

logger = logging.getLogger("dp2o.task")

Md5 = Annotated[str, AfterValidator(places.md5_name)]
Sha256 = Annotated[str, AfterValidator(places.sha256_name)]

FOLDER = "/dp2o/"
"""Between a store's URL and the key of a document in it."""


class Input(BaseModel):
    """What a stage reads.

    Attributes:
        path: relative to the project's root.
        md5: as DVC counts it; of a folder that of its listing, ending in `.dir`.
        size: bytes in all.
        origin: `store`, or `image`: a part of the code's own checkout, whose content must be this.
        sha256: of its files by path relative to it, of a file itself under the empty name; empty where not known.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Annotated[str, AfterValidator(places.relative)]
    md5: Md5
    size: int
    origin: Literal["store", "image"]
    sha256: dict[str, str] = {}


def as_input(path: str, content: Content) -> Input:
    """A file of the store as an input."""
    sums = {"": content.sha256} if content.sha256 else {}
    return Input(path=path, md5=content.md5, size=content.size, origin="store", sha256=sums)


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
        """First 32 hex digits of the sha256 over what determines the result; where the store is does not."""
        apart: Any = {"store": True, "inputs": {"__all__": {"sha256"}}}
        return digests.of_json(self.model_dump(mode="json", exclude=apart))[:32]

    @property
    def key(self) -> str:
        """Of the document in the store: it says what must be in it, all but where it is."""
        content = digests.of_json(self.model_dump(mode="json", exclude={"store"}))[:32]
        return f"tasks/{self.stage}-{content}.json"

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
    """What a part of a task made, by path relative to the project's root.

    Attributes:
        outputs: md5, size and sha256 of each file.
        figures: what it took.
        seal: of whoever was to make it (components/task/seal.py); empty where no flow asked.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    outputs: dict[Annotated[str, AfterValidator(places.relative)], tuple[Md5, int, Sha256]]
    figures: dict[str, float] = {}
    seal: str = ""

    def contents(self) -> dict[str, Content]:
        """Outputs as contents."""
        return {path: Content(*made) for path, made in self.outputs.items()}

    def sealed(self, key: str, result_key: str) -> Result:
        """The same with its seal; without a key as it is."""
        return self.model_copy(update={"seal": seal.seal(key, result_key, self._content())}) if key else self

    def is_sealed(self, key: str, result_key: str) -> bool:
        """Whether whoever has the part's key said this of this very part."""
        return seal.holds(self.seal, key, result_key, self._content())

    def _content(self) -> dict[str, Any]:
        return self.model_dump(mode="json", exclude={"seal"})


def read_result(store: Store, task: Task, invocation: Invocation, key: str = "") -> Result | None:
    """What was made before, if all of it is still in the store; otherwise None.

    Args:
        key: the part's own. A result without the seal of that key was made by another run, or forged: it counts as
            none. Without a key there is nobody to compare with.
    """
    place = task.result_key(invocation)
    content = store.read(place)
    if content is None:
        return None
    try:
        result = Result.model_validate(content)
    except ValidationError:
        return None  # of an earlier version
    if key and not result.is_sealed(key, place):
        logger.warning("%s in %s is not sealed by this run's key and counts as absent", place, store.url)
        return None
    return result if all(store.has(made) for made in result.contents().values()) else None


def read_task(stage: str, url: str) -> tuple[Task, Store]:
    """The task document at `url`, and its store.

    Raises:
        BadInput: there is none at that URL, it is of another stage or version, or it is not what its name says.
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
    if task.key != key:
        raise BadInput(
            f"--task {url} was changed: its content is that of {task.key}. Nothing was done; find out who may write to "
            "the store, and start the run again, which writes it anew"
        )
    return task.model_copy(update={"store": store.url}), store
