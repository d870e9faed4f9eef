"""Worker processes of which each does one item at a time: one that dies costs its item, and another takes its place."""

from __future__ import annotations

import multiprocessing
import pickle
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, Self, TypeVar

from components.interruption import uninterrupted
from components.runtime.workers import begin, exit_text, perform
from components.settings import Settings

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Died:
    """What became of an item's process."""

    reason: str


class Lanes(Generic[Item, Result]):
    """A context in which items are done; its end ends all workers, and an error in it ends them at once.

    Unlike `Workers` of components.runtime, whose run ends with a death, this loses the item alone.

    Args:
        load: makes the function that does an item's work; called once a process. Pickled, as are items and results.
        settings: of the project.
        count: processes at most; each is started when an item waits for it.
    """

    def __init__(self, load: Callable[[], Callable[[Item], Result]], settings: Settings, count: int) -> None:
        self._settings, self._load, self._count = settings, pickle.dumps(load), count
        self._lanes: set[_Lane] = set()
        self._free: list[_Lane] = []
        self._running: dict[Future[Result], tuple[Item, _Lane]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            for lane in self._lanes:
                lane.terminate()
        for lane in self._lanes:
            lane.close()

    def each(self, items: Iterable[Item]) -> Iterator[tuple[Item, Result | Died]]:
        """Do the work of all items, which are asked for as workers get free; results come as they are ready.

        Raises:
            Exception: whatever the work raised.
        """
        for item in items:
            if len(self._running) == self._count:
                yield from self._finished()
            self._begin(item)
        while self._running:
            yield from self._finished()

    def _begin(self, item: Item) -> None:
        lane = self._free.pop() if self._free else self._new()
        future: Future[Result]
        try:
            future = lane.submit(item)
        except BrokenProcessPool:  # it died while it had nothing to do
            self._close(lane)
            lane = self._new()
            future = lane.submit(item)
        self._running[future] = item, lane

    def _new(self) -> _Lane:
        lane = _Lane(self._settings, self._load)
        self._lanes.add(lane)
        return lane

    def _close(self, lane: _Lane) -> None:
        lane.close()
        self._lanes.discard(lane)

    def _finished(self) -> Iterator[tuple[Item, Result | Died]]:
        done, _ = wait(self._running, return_when=FIRST_COMPLETED)
        for future in done:
            item, lane = self._running.pop(future)
            result: Result | Died
            try:
                result = future.result()
                self._free.append(lane)
            except BrokenProcessPool:
                self._close(lane)
                result = Died(lane.end)
            yield item, result


class _Lane:
    """One worker process."""

    def __init__(self, settings: Settings, load: bytes) -> None:
        self._executor = ProcessPoolExecutor(
            1, multiprocessing.get_context("spawn"), initializer=begin, initargs=(settings, load)
        )
        self._process: multiprocessing.process.BaseProcess | None = None

    def submit(self, item: Item) -> Future[Result]:
        """Raises BrokenProcessPool where the process is dead already."""
        others = set(multiprocessing.active_children())
        with uninterrupted():
            future: Future[Result] = self._executor.submit(perform, item)
            if self._process is None:
                (self._process,) = set(multiprocessing.active_children()) - others
        return future

    def terminate(self) -> None:
        """End it with SIGTERM."""
        if self._process is not None:
            self._process.terminate()

    def close(self) -> None:
        """Wait for its end."""
        self._executor.shutdown(cancel_futures=True)

    @property
    def end(self) -> str:
        """How it ended, for people; after `close`."""
        code = None if self._process is None else self._process.exitcode
        if code == -signal.SIGKILL:
            return (
                "its worker process was killed (SIGKILL), as the kernel does when memory runs out: give fewer "
                "--workers or a smaller --tile, and run the same command again"
            )
        return f"its worker process ended before the picture was done ({exit_text(code)}): run the same command again"
