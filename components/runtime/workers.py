"""Independent work in worker processes of one thread each, or in this process where there is little of it.

One process on all cores waits, in every convolution, for the slowest of them: a single core that is busy with something
else slows all. Workers do not wait for each other. What they give does not depend on their number: torch's last bits
depend on its threads, so work is done with one thread on every CPU, in this process as well.

Workers are started (spawn), not forked, as a fork inherits the locks of torch's threads; each imports for itself, which
costs 5 to 10 s of a core. They put what they make into a cache on disk, so that nothing that is finished is ever lost.
"""

import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import cache
from itertools import islice
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

import psutil

from components.errors import OutOfMemory, ResumeLater
from components.interruption import uninterrupted
from components.runtime.process import set_up_process, start_logging
from components.settings import Settings

if TYPE_CHECKING:
    import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

ITEMS_A_WORKER = 8
"""Fewer items are not worth another worker's imports."""
AHEAD = 4
"""Items a worker that wait for it, so that a worker never waits for this process."""
MEMORY = 3 * 2**29
"""Bytes of a worker beside its weights: what torch, diffusers and pyiqa take, and one LR image's group."""
CGROUP = Path("/sys/fs/cgroup")


def most_workers(settings: Settings, device: "torch.device", weights: int = 0) -> int:
    """Workers that `run.workers` asks for; by default one a core, fewer where memory is short; 1 on a GPU.

    Args:
        settings: their block `run`.
        device: where the work is done.
        weights: bytes of the files that a worker loads; in memory they may be twice as large.
    """
    if device.type != "cpu":
        return 1
    if settings.run.workers:
        return settings.run.workers
    from joblib import cpu_count  # noqa: PLC0415  # counts what the process, or its container, may use

    return max(1, min(int(cpu_count()), free_memory() // (MEMORY + 2 * weights)))


def free_memory(cgroup: Path = CGROUP) -> int:
    """Bytes that this machine, and the container if there is one, have left."""
    free = int(psutil.virtual_memory().available)
    try:
        limit, used = ((cgroup / name).read_text().strip() for name in ("memory.max", "memory.current"))
        counted = dict(line.split() for line in (cgroup / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return free
    if not limit.isdecimal():  # "max": none
        return free
    return min(free, int(limit) - int(used) + int(counted.get("inactive_file", 0)))


def size_of(*paths: Path) -> int:
    """Bytes of files, and of all files below folders; what is not there counts nothing."""
    files = [file for path in paths for file in ([path] if path.is_file() else path.rglob("*"))]
    return sum(file.stat().st_size for file in files if file.is_file())


class Workers(Generic[Item, Result]):
    """A context in which work is done; its end ends all workers.

    Args:
        load: makes the function that does an item's work; called once a process, when the first item comes. It is
            pickled, as are items and results, so keep those small: work that is large goes through a cache.
        settings: of the project.
        most: see `most_workers`.
        here: the same as `load`, for this process, where something is loaded already.
    """

    def __init__(
        self,
        load: Callable[[], Callable[[Item], Result]],
        settings: Settings,
        most: int,
        here: Callable[[], Callable[[Item], Result]] | None = None,
    ) -> None:
        self._load, self._load_here = load, here or load
        self._settings, self._most = settings, most
        self._work: Callable[[Item], Result] | None = None
        self._executor: ProcessPoolExecutor | None = None
        self._others: set[multiprocessing.process.BaseProcess] = set()
        self._processes: set[multiprocessing.process.BaseProcess] = set()
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.signal(number, _stop) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._executor is not None:
                if isinstance(error, Stopped | KeyboardInterrupt):
                    for process in self._processes:
                        process.terminate()
                self._executor.shutdown(cancel_futures=True)  # what runs is finished, and kept, unless it was ended
        finally:
            for number, handler in self._handlers.items():
                signal.signal(number, handler)

    def each(self, items: Sequence[Item], apart: bool = True) -> Iterator[Result]:
        """Do the work of all items; results come as they are ready, in no order.

        Args:
            items: may be sent to other processes, unless `apart` is false.

        Raises:
            Exception: whatever the work raised, with the worker's traceback as its cause.
            OutOfMemory: a worker was killed.
            ResumeLater: SIGTERM or SIGINT came.
        """
        count = self._count(len(items))
        if apart and (count > 1 or self._executor is not None):
            return self._in_workers(items, count)
        return map(self._in_this_process, items)

    def _count(self, items: int) -> int:
        """Workers for so many items. A number that was asked for is not doubted."""
        return min(self._most, items if self._settings.run.workers else items // ITEMS_A_WORKER)

    def _in_this_process(self, item: Item) -> Result:
        with one_thread():
            if self._work is None:
                self._work = self._load_here()
            return self._work(item)

    def _in_workers(self, items: Sequence[Item], count: int) -> Iterator[Result]:
        executor = self._started(count)
        coming = iter(items)
        try:
            running = self._submit(executor, islice(coming, AHEAD * count))
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                running |= self._submit(executor, islice(coming, len(done)))
                for future in done:
                    yield future.result()
        except BrokenProcessPool as error:
            raise self._pool_failure() from error

    def _started(self, count: int) -> ProcessPoolExecutor:
        if self._executor is None:
            self._others = set(multiprocessing.active_children())
            self._executor = ProcessPoolExecutor(
                count,
                multiprocessing.get_context("spawn"),
                initializer=_begin,
                # As bytes: what `load` names, torch for example, is imported after the number of threads is set.
                initargs=(self._settings, pickle.dumps(self._load)),
            )
        return self._executor

    def _submit(self, executor: ProcessPoolExecutor, items: Iterator[Item]) -> set["Future[Result]"]:
        with uninterrupted():
            futures: set[Future[Result]] = {executor.submit(_perform, item) for item in items}
        self._processes |= set(multiprocessing.active_children()) - self._others
        return futures

    def _pool_failure(self) -> Exception:
        """What became of the worker that broke the pool. The others are ended by the executor, with SIGTERM."""
        assert self._executor is not None
        self._executor.shutdown()  # joins all
        ends = {process.pid: process.exitcode for process in self._processes}
        for pid, code in ends.items():
            if code == -signal.SIGKILL:
                return OutOfMemory(
                    f"worker process {pid} of {len(ends)} was killed (SIGKILL), as the kernel does when memory runs "
                    "out: set run.workers to fewer, or lower the batch; what is finished is in the cache"
                )
        ended = ", ".join(f"{pid}: {_exit_text(code)}" for pid, code in sorted(ends.items(), key=str))
        return RuntimeError(f"a worker process ended before its work did ({ended})")


class Stopped(ResumeLater):
    """SIGTERM or SIGINT came while workers were at work."""


def _stop(number: int, frame: FrameType | None) -> None:
    raise Stopped(f"stopped by {signal.Signals(number).name}; what is finished is in the cache: run the same again")


def _exit_text(code: int | None) -> str:
    return signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch's work on the CPU is done by one thread."""
    import torch  # noqa: PLC0415

    before = torch.get_num_threads()
    if before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


# ---- in a worker

_pickled: list[bytes] = []
"""What `load` was pickled to; one element in a worker."""


def _begin(settings: Settings, load: bytes) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    set_up_process(settings.model_copy(update={"run": settings.run.model_copy(update={"threads": 1})}))
    start_logging()
    _pickled.append(load)


def _end_with_parent() -> None:
    """A parent that was killed cannot end its workers."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@cache
def _work() -> Callable[[Any], Any]:
    work: Callable[[Any], Any] = pickle.loads(_pickled[0])()
    return work


def _perform(item: Any) -> Any:
    try:
        return _work()(item)
    except Exception as error:
        if _survives(error):
            raise
        raise RuntimeError("".join(traceback.format_exception(error))) from None


def _survives(error: Exception) -> bool:
    """Whether the parent can read it: an exception whose arguments are not its message's often cannot be."""
    try:
        return type(pickle.loads(pickle.dumps(error))) is type(error)
    except Exception:  # noqa: BLE001  # whatever its own code raises
        return False
