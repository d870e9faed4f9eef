"""A stage in a place of its own: inputs come from a store, outputs go back to it, by content.

`python -m components.<stage> [--shard i/n] --task URL` makes a workspace, brings what the stage needs, runs the very
same `python -m components.<stage>` there as a child process, and puts what it made into the store. A pod does that, and
so does a child process of a flow on one machine. The task document says what, the command line which part of it.
Machines that train together have the same command line; the environment says which of them this is.
"""

import hashlib
import json
import logging
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from components.artifacts import digests, inputs
from components.artifacts.shards import Shard
from components.artifacts.store import Content, Store, md5_of
from components.entry import Action
from components.errors import BadInput, ExitCode, ResumeLater, UserError, tell
from components.register.lineage import COMMIT_VARIABLE, DIRTY_VARIABLE

logger = logging.getLogger("dp2o.task")

CODE = Path(__file__).parents[1]
"""Where this code is: the repository, or /app in a container."""
WORKSPACE_VARIABLE = "DP2O_WORKSPACE"
NODES_VARIABLE, NODE_VARIABLE, FIRST_NODE_VARIABLE = "DP2O_NODES", "DP2O_NODE", "DP2O_FIRST_NODE"
TOGETHER_WITHIN = 7200
"""Seconds in which all nodes must have brought their inputs, from when the first one has."""
LOG_EVERY = 60.0
"""Seconds between two copies of the log to the store."""
LAZY = ".tar"
"""Image shards are brought when they are opened; everything else is small, and brought first."""
IGNORED = ("__pycache__",)


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

    def result_key(self, action: Action, shard: Shard | None) -> str:
        """Of the result of a part in the store."""
        part = shard.name if shard else "whole"
        return f"results/{self.stage}-{self.digest}/{action}-{part}.json"


class Result(BaseModel):
    """What a part of a task made, by path relative to the project's root."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    outputs: dict[str, tuple[str, int]]
    figures: dict[str, float] = {}

    def contents(self) -> dict[str, Content]:
        """Outputs as contents."""
        return {path: Content(md5, size) for path, (md5, size) in self.outputs.items()}


@dataclass(frozen=True)
class Node:
    """One of several machines that train together; the first one keeps what they make.

    Attributes:
        number: from 0.
        count: of all.
        first: `host:port` of node 0, where they find each other.
    """

    number: int
    count: int
    first: str


def node_here(environment: Mapping[str, str]) -> Node | None:
    """What the environment says of this machine; None where it works alone.

    Raises:
        BadInput: it does not say all, or nothing that can be.
    """
    count, number, first = (environment.get(n, "") for n in (NODES_VARIABLE, NODE_VARIABLE, FIRST_NODE_VARIABLE))
    if count in ("", "1"):
        return None
    host, _, port = first.rpartition(":")
    if not (count.isdecimal() and number.isdecimal() and int(number) < int(count) and host and port.isdecimal()):
        raise BadInput(
            f"{NODES_VARIABLE}={count!r}, {NODE_VARIABLE}={number!r} and {FIRST_NODE_VARIABLE}={first!r} must be the "
            "number of nodes, which one this is (from 0), and host:port of node 0; a cluster whose Jobs cannot be "
            "Indexed leaves the second empty: train on one node there"
        )
    return Node(int(number), int(count), first)


@dataclass(frozen=True)
class Assignment:
    """One command line: which part of which task, and how."""

    stage: str
    url: str
    shard: Shard | None = None
    action: Action = "run"
    halvings: int = 0
    processes: int = 1
    log: str | None = None
    settings: Sequence[str] = ()
    node: Node | None = None

    @property
    def is_second(self) -> bool:
        """Whether another node keeps what is made."""
        return self.node is not None and self.node.number > 0


def read_result(store: Store, task: Task, action: Action, shard: Shard | None) -> Result | None:
    """What was made before, if all of it is still in the store; otherwise None."""
    content = store.read(task.result_key(action, shard))
    if content is None:
        return None
    try:
        result = Result.model_validate(content)
    except ValidationError:
        return None  # of an earlier version
    return result if all(store.has(made) for made in result.contents().values()) else None


def run_task(assignment: Assignment) -> int:
    """Do it; the exit code of the stage, or of what prevented it."""
    began = time.monotonic()
    try:
        assignment = replace(assignment, node=node_here(os.environ))
        task, store = _read(assignment)
        if read_result(store, task, assignment.action, assignment.shard) is not None:
            logger.info("made before: %s", task.result_key(assignment.action, assignment.shard))
            return ExitCode.OK
        if task.stage == "register" and not os.environ.get("MLFLOW_TRACKING_URI"):
            raise BadInput("MLFLOW_TRACKING_URI is not set: a database in the workspace would vanish with it")
        check_code(task.inputs, CODE)
        with _workspace() as root:
            lazy = bring_inputs(task, store, root)
            fetched = time.monotonic()
            code = _run_child(assignment, task, store, root)
            has_ended_well = code == ExitCode.OK or (task.arguments and code == ExitCode.REFUSED)
            if assignment.is_second or not has_ended_well:
                return code
            ran = time.monotonic()
            files = [path for path in made(root, task, assignment) if path not in lazy]
            outputs = {path: store.keep(root / path) for path in files}
            opened = sum((root / path).stat().st_size for path in lazy if (root / path).exists())
            figures = {
                "seconds_bringing": fetched - began,
                "seconds_running": ran - fetched,
                "seconds_keeping": time.monotonic() - ran,
                "bytes_brought": float(store.fetched + opened),
                "bytes_kept": float(store.kept),
                "peak_memory_mb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
            }
            result = Result(outputs={path: (c.md5, c.size) for path, c in outputs.items()}, figures=figures)
            store.write(task.result_key(assignment.action, assignment.shard), result.model_dump(mode="json"))
            logger.info("%d files made; %s", len(outputs), json.dumps({k: round(v, 1) for k, v in figures.items()}))
            return code
    except UserError as error:
        return tell(f"dp2o {assignment.stage}", error)


def _read(assignment: Assignment) -> tuple[Task, Store]:
    """The task document and its store.

    Raises:
        BadInput: there is none at that URL, or it is of another stage or version.
    """
    base, found, key = assignment.url.partition("/dp2o/")
    if not found:
        raise BadInput(f"--task {assignment.url} is no document of a store: expected <store>/dp2o/tasks/….json")
    store = Store(base)
    content = store.read(key)
    if content is None:
        raise BadInput(f"--task {assignment.url}: there is no such document")
    try:
        task = Task.model_validate(content)
    except ValidationError as error:
        raise BadInput(f"--task {assignment.url} is not of this version: {error}") from error
    if task.stage != assignment.stage:
        raise BadInput(f"--task {assignment.url} is of {task.stage}, this is {assignment.stage}")
    return task, store


# ---- code


def check_code(wanted: Sequence[Input], root: Path) -> None:
    """Compare what the task says of the code with what is here.

    Raises:
        BadInput: something differs: this container was built from another commit.
    """
    for entry in wanted:
        if entry.origin != "image":
            continue
        path = root / entry.path
        if not path.exists():
            raise BadInput(f"{entry.path} is not in this image: build it from the run's commit, or track it with DVC")
        found = dvc_md5(path)
        if found != entry.md5:
            raise BadInput(
                f"{entry.path} in this image is {found}, the run's commit has {entry.md5}: build the image from that "
                "commit, or run the commit that the image was built from"
            )


def dvc_md5(path: Path) -> str:
    """What DVC calls the md5 of a file or a folder; byte code does not count (.dvcignore)."""
    if path.is_file():
        return md5_of(path).md5
    files = sorted(
        file.relative_to(path).as_posix()
        for file in path.rglob("*")
        if file.is_file() and file.suffix != ".pyc" and not set(file.relative_to(path).parts) & set(IGNORED)
    )
    return listing({name: md5_of(path / name) for name in files})[1]


def listing(files: dict[str, Content]) -> tuple[bytes, str]:
    """DVC's listing of a folder, and its md5; `files` by path relative to the folder."""
    rows = [{"md5": files[name].md5, "relpath": name} for name in sorted(files)]
    content = json.dumps(rows, sort_keys=True).encode()
    return content, hashlib.md5(content, usedforsecurity=False).hexdigest() + ".dir"


# ---- workspace


@contextmanager
def _workspace() -> Iterator[Path]:
    base = os.environ.get(WORKSPACE_VARIABLE)
    if base:
        Path(base).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="dp2o-", dir=base) as folder:
        yield Path(folder)


def bring_inputs(task: Task, store: Store, root: Path) -> dict[str, Content]:
    """Lay out the project as the stage expects it; what is left to be brought when it is opened.

    The code's own files are links: settings name weights that come with it by paths relative to the root.
    """
    (root / "params.yaml").write_text(task.params)
    if task.lock:
        (root / "dvc.lock").write_text(task.lock)
    (root / "components").symlink_to(CODE / "components")
    lazy: dict[str, Content] = {}
    for entry in task.inputs:
        target = root / entry.path
        if entry.origin == "image":
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(CODE / entry.path)
            continue
        for path, content in contents(store, entry).items():
            if path.endswith(LAZY):
                lazy[path] = content
                (root / path).parent.mkdir(parents=True, exist_ok=True)
            else:
                store.fetch(content, root / path)
    inputs.list_inputs(root / ".inputs.json", store.url, root, lazy)
    return lazy


def contents(store: Store, entry: Input) -> dict[str, Content]:
    """Files of an input by path relative to the project's root; a folder's listing has no sizes, so -1 stands there."""
    if not entry.md5.endswith(".dir"):
        return {entry.path: Content(entry.md5, entry.size)}
    rows = json.loads(store.read_object(entry.md5))
    return {f"{entry.path}/{row['relpath']}": Content(row["md5"], -1) for row in rows}


def made(root: Path, task: Task, assignment: Assignment) -> list[str]:
    """Files that the stage made, relative to the root.

    Raises:
        RuntimeError: a whole stage ended well without one of its outputs.
    """
    if assignment.action == "publish":
        name = assignment.shard.name if assignment.shard else ""
        return sorted(file.relative_to(root).as_posix() for file in (root / "data").rglob(f"{name}.*"))
    files: list[str] = []
    for output in task.outputs:
        path = root / output
        if path.is_dir():
            files += [file.relative_to(root).as_posix() for file in path.rglob("*") if file.is_file()]
        elif path.is_file():
            files.append(output)
        elif assignment.action == "run" and assignment.shard is None and not task.arguments:
            raise RuntimeError(f"{assignment.stage} ended well without {output}, which dvc.yaml says it makes")
    return sorted(files)


# ---- the child


def overrides(params: str, store_url: str, halvings: int, given: Sequence[str] = ()) -> list[str]:
    """Settings that say where and how: those given, the shared cache, and batches halved so many times."""
    chosen = list(given)
    if not any(setting.startswith(("run.cache=", "run.shared_cache=")) for setting in given):
        chosen.append(f"run.shared_cache={store_url}")
    values: dict[str, Any] = yaml.safe_load(params)
    if halvings:
        for block, key in (("generate", "batch"), ("score", "batch")):
            chosen.append(f"{block}.{key}={max(1, int(values[block][key]) >> halvings)}")
        train = values["train"]
        most = max(1, int(train["micro_batch"]) >> halvings)
        # groups_per_step has to be a multiple of it
        divisor = next(size for size in range(most, 0, -1) if int(train["groups_per_step"]) % size == 0)
        chosen.append(f"train.micro_batch={divisor}")
    return chosen


def command(assignment: Assignment, params: str, store_url: str, arguments: Sequence[str] = ()) -> list[str]:
    """The child's command line."""
    module = ["-m", f"components.{assignment.stage}", *arguments]
    if arguments:
        return [sys.executable, "-u", *module]
    if assignment.processes > 1 or assignment.node is not None:
        workers = [*_meeting(assignment.node), f"--nproc-per-node={assignment.processes}"]
        module = ["-m", "components.train.torchrun", *workers, *module]
    settings = overrides(params, store_url, assignment.halvings, assignment.settings)
    flags = [flag for setting in settings for flag in ("--set", setting)]
    if assignment.shard is not None:
        flags += ["--shard", str(assignment.shard)]
    if assignment.action != "run":
        flags.append(f"--{assignment.action}")
    return [sys.executable, "-u", *module, *flags]


def _meeting(node: Node | None) -> list[str]:
    """How torchrun's processes find each other. A node that leaves ends all: none is taken in again, all start anew."""
    if node is None:
        return ["--standalone"]
    host, _, port = node.first.rpartition(":")
    place = [f"--nnodes={node.count}", f"--node-rank={node.number}", f"--master-addr={host}", f"--master-port={port}"]
    return [*place, f"--rdzv-conf=timeout={TOGETHER_WITHIN}"]


def _log_key(assignment: Assignment) -> str | None:
    """Of the log in the store; each node has one."""
    if assignment.log is None or assignment.node is None or not assignment.is_second:
        return assignment.log
    return f"{assignment.log.removesuffix('.log')}-node{assignment.node.number}.log"


def _run_child(assignment: Assignment, task: Task, store: Store, root: Path) -> int:
    """Run the stage in the workspace; its lines go to stdout and to the store."""
    environment = os.environ | {
        inputs.VARIABLE: str(root / ".inputs.json"),
        "PYTHONPATH": os.pathsep.join([str(CODE), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "TQDM_MININTERVAL": os.environ.get("TQDM_MININTERVAL", "10"),
        COMMIT_VARIABLE: task.commit,
        DIRTY_VARIABLE: str(task.dirty).lower() if task.commit else "",
    }
    child = subprocess.Popen(
        command(assignment, task.params, store.url, task.arguments),
        cwd=root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    with _passing_on(child) as stopped, tempfile.NamedTemporaryFile("w", suffix=".log") as log:
        ended = threading.Event()
        copied = (store, _log_key(assignment), Path(log.name), ended)
        copier = threading.Thread(target=_copy_log, args=copied, daemon=True)
        copier.start()
        for line in child.stdout or ():  # text mode: a progress bar's carriage returns end lines as well
            print(line, end="", flush=True)
            log.write(line)
            log.flush()
        code = child.wait()
        log.write(f"exit code {code}\n")
        log.flush()
        ended.set()
        copier.join()
    if stopped and code != ExitCode.OK:
        return ExitCode.RESUME  # what was finished is in the cache; the same command goes on from there
    return code if code >= 0 else 128 - code


def _copy_log(store: Store, key: str | None, path: Path, ended: threading.Event) -> None:
    """Copy the log now and then, and at the end; a store that is away loses the copy, not the work."""
    while key:
        last = ended.wait(LOG_EVERY)
        try:
            store.keep_file(key, path)
        except (OSError, BadInput, ResumeLater) as error:
            logger.warning("the log could not be copied: %s", error)
        if last:
            return


@contextmanager
def _passing_on(child: "subprocess.Popen[str]") -> Iterator[list[int]]:
    """SIGTERM and SIGINT go to the stage, which saves its state; yields those received."""
    received: list[int] = []

    def forward(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        child.terminate()

    before = {number: signal.signal(number, forward) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
