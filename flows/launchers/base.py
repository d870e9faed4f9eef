"""What every launcher does, the states it tells, and the names of what can go wrong."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from components.errors import ExitCode


class State(StrEnum):
    """Where a piece of work is. Only the last two are ends."""

    QUEUED = "Queued"  # accepted, but held back: suspended by a queue such as Kueue
    PENDING = "Pending"  # waits for a node, an image or a volume
    RUNNING = "Running"
    FINISHING = "Finishing"  # decided, but its pods are still ending
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"

    @property
    def ended(self) -> bool:
        """True for Succeeded and Failed."""
        return self in (State.SUCCEEDED, State.FAILED)


class Failure(StrEnum):
    """Why work failed: a closed list, so that people can search for a name and code can decide by it."""

    OUT_OF_MEMORY = "OutOfMemory"
    OUT_OF_DISK = "OutOfDisk"
    EVICTED = "Evicted"
    IMAGE_PULL = "ImagePull"
    UNSCHEDULABLE = "Unschedulable"
    QUEUE_TIMEOUT = "QueueTimeout"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    BAD_INPUT = "BadInput"
    CORRUPT_INPUT = "CorruptInput"
    RESUME_LATER = "ResumeLater"
    REFUSED = "Refused"
    REJECTED = "Rejected"
    LOST = "Lost"
    CANCELLED = "Cancelled"
    CRASHED = "Crashed"

    @property
    def summary(self) -> str:
        """What happened, in one sentence."""
        return _TEXTS[self][0]

    @property
    def way_out(self) -> str:
        """What to do about it."""
        return _TEXTS[self][1]


_TEXTS = {
    Failure.OUT_OF_MEMORY: (
        "the process used more memory than it may",
        "lower generate.batch, score.batch or train.micro_batch, or give the stage more memory",
    ),
    Failure.OUT_OF_DISK: (
        "there was no room left for what the process wrote",
        "make room on the disk that the message names, or raise the volume's sizeLimit in the Job template, use more "
        "shards, or lower intake.bytes_a_run; what is finished is kept: start the run again",
    ),
    Failure.EVICTED: (
        "the node or a more important workload took the pod's place",
        "nothing to do: it is started again; if it happens often, raise the priority class",
    ),
    Failure.IMAGE_PULL: (
        "the container image cannot be pulled",
        "check the image's name and digest, and the registry's credentials",
    ),
    Failure.UNSCHEDULABLE: (
        "no node can take the pod",
        "check GPU kind, node selector, tolerations and quotas, or add nodes",
    ),
    Failure.QUEUE_TIMEOUT: (
        "the work waited longer in the queue than the queue timeout allows",
        "raise the queue timeout, or the queue's quota",
    ),
    Failure.DEADLINE_EXCEEDED: (
        "the work ran longer than the run timeout allows",
        "raise the run timeout, or use more shards",
    ),
    Failure.BAD_INPUT: (
        "settings or data must change first (exit code 2)",
        "the message names the setting or file; trying again cannot help",
    ),
    Failure.CORRUPT_INPUT: (
        "an object of the store is not what its name says (exit code 65)",
        "nothing to do: it was set aside and is made again",
    ),
    Failure.RESUME_LATER: (
        "the work stopped with everything saved, or a server is away (exit code 75)",
        "nothing to do: it is started again and continues",
    ),
    Failure.REFUSED: (
        "the gate said no, or waits for an approval (exit code 3)",
        "the report says which check, and why",
    ),
    Failure.REJECTED: (
        "the cluster does not accept the Job",
        "the message says which field or quota; look at the Job template and the namespace's limits",
    ),
    Failure.LOST: (
        "the work disappeared: something else deleted it",
        "nothing to do: it is started again; find out who deletes Jobs if it happens often",
    ),
    Failure.CANCELLED: ("the run was cancelled", "start it again when it is wanted"),
    Failure.CRASHED: ("the process ended with an error", "the log's last lines are the traceback: a defect of ours"),
}

BY_EXIT_CODE: dict[int, Failure] = {
    ExitCode.BAD_INPUT: Failure.BAD_INPUT,
    ExitCode.REFUSED: Failure.REFUSED,
    ExitCode.CORRUPT_INPUT: Failure.CORRUPT_INPUT,
    ExitCode.RESUME: Failure.RESUME_LATER,
    ExitCode.OUT_OF_MEMORY: Failure.OUT_OF_MEMORY,  # SIGKILL: in a container only the kernel's memory killer sends it
}
"""Failure by exit code; any other is Crashed."""
NO_ROOM = ("[Errno 28]", "[Errno 122]", "No space left on device", "Disk quota exceeded", "database or disk is full")
"""Last words of a process that found its disk, or its share of it, full."""


def failure_by(code: int, said: str) -> Failure:
    """What an exit code means, with what the process said last."""
    failure = BY_EXIT_CODE.get(code, Failure.CRASHED)
    if failure in (Failure.CRASHED, Failure.BAD_INPUT) and any(words in said for words in NO_ROOM):
        return Failure.OUT_OF_DISK
    return failure


@dataclass(frozen=True)
class Work:
    """One process to run: a shard of a stage, once.

    Attributes:
        run: id of the flow run it belongs to; also the label by which all of a run's work is found and removed.
        stage: name of the stage, for example `generate`.
        shard: `00002-of-00004`; `whole` where the stage does not come in shards.
        attempt: from 0. With run, stage and shard it names the work: submitting the same again adopts what is there.
        command: without the interpreter, for example `("components.generate", "--shard", "2/4", "--task", url)`;
            run as `python -m …`.
        gpus: GPUs it needs; 0 runs on the CPU.
        environment: plain settings; secrets come from where it runs.
        secrets: the same for what nobody else may see; of this work alone.
        promotes: whether it judges and promotes: a promoter's credentials are for such work alone.
        nodes: machines that do it together, each with that command and so many GPUs; they start and end as one.
    """

    run: str
    stage: str
    shard: str
    attempt: int
    command: tuple[str, ...]
    gpus: int = 0
    environment: dict[str, str] = field(default_factory=dict)
    nodes: int = 1
    secrets: dict[str, str] = field(default_factory=dict, repr=False)
    promotes: bool = False


@dataclass(frozen=True)
class Outcome:
    """How work ended.

    Attributes:
        state: Succeeded or Failed.
        failure: None if it succeeded.
        detail: for people: exit code, the event's or condition's own text.
        exit_code: of the process, where it had one.
    """

    state: State
    failure: Failure | None = None
    detail: str = ""
    exit_code: int | None = None

    @property
    def has_answered(self) -> bool:
        """Whether it did what it was for: it succeeded, or the gate said no."""
        return self.state is State.SUCCEEDED or self.failure is Failure.REFUSED


class WorkFailedError(Exception):
    """Work failed for good; the message has the failure's name, what happened, and the way out."""

    def __init__(self, what: str, outcome: Outcome) -> None:
        failure = outcome.failure or Failure.CRASHED
        super().__init__(f"{what}: {failure}: {failure.summary}. {outcome.detail}\nWay out: {failure.way_out}")
        self.outcome = outcome
        self.failure = failure


class Launcher(Protocol):
    """Runs work somewhere. All methods may be called from several threads."""

    def submit(self, work: Work) -> str:
        """Start `work`, or adopt it if it was started before; its handle."""

    def wait(
        self,
        handle: str,
        on_state: Callable[[State], None] | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> Outcome:
        """Block until it has ended.

        Args:
            on_state: told of every change of state.
            on_line: given the log's lines as they come, best effort: a line may be missing, none comes twice.
        """

    def logs(self, handle: str) -> Iterator[str]:
        """The log's lines so far."""

    def delete(self, handle: str) -> None:
        """Stop it if it runs, and remove it; nothing happens if it is gone already."""

    def sweep(self, run: str) -> None:
        """Delete all work of a run that is over, whoever submitted it: a flow that died cannot delete its own. What is
        submitted of that run from now on is Cancelled."""

    def close(self) -> None:
        """Delete all that this launcher started and did not delete, and give back its threads and connections. Who
        waits, and what is submitted from now on, is Cancelled."""
