"""The one way in which pictures are read: in child processes, so that what kills, hangs or fills a decoder costs one
picture and not the run, the server or the machine.

A child is used again and again, is started when it is first needed, and again after it died. Each picture has limits
of its own: bytes, pixels, processor time, memory. A child has nothing of its parent's environment, which may hold
passwords.
"""

from __future__ import annotations

import logging
import re
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from types import TracebackType
from typing import Any, Self, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from components.photos.decoder import Answer, Decoder
from components.photos.limits import Limits, check_size
from components.photos.unusable import Reason, UnusablePhotoError, printable

logger = logging.getLogger("dp2o.photos")

Item = TypeVar("Item")
Result = TypeVar("Result")

Crop = tuple[int, int, NDArray[np.uint8]]
"""Left and upper edge in the photo, and pixels [side, side, 3]."""

PIXELS, DIGEST, CROPS, CUT = (f"components.photos.answers:{name}" for name in ("pixels", "digest", "crops", "cut"))
MOST_PROCESSES = 4
"""Children by default, on machines with as many cores. More would wait for the parent."""
AHEAD = 2
"""Pictures a child that are read before they are asked for."""
PHOTOS_A_CHILD = 8
"""Fewer are not worth another child's imports."""

_DIGEST = re.compile(r"[0-9a-f]{16}")


class PhotoReader:
    """A pool of decoders; a context that ends them. Threads may share it.

    Args:
        limits: of each picture.
        processes: children at most; 0: as many as there are cores, up to MOST_PROCESSES.
        functions: `module:name` of what may be asked for by `call` beside `pixels`, `digest`, `crops` and `cut`.
    """

    def __init__(self, limits: Limits, processes: int = 0, functions: tuple[str, ...] = ()) -> None:
        self.limits = limits
        self.processes = processes or min(_cores(), MOST_PROCESSES)
        self._functions = (PIXELS, DIGEST, CROPS, CUT, *functions)
        self._free = threading.BoundedSemaphore(self.processes)
        self._lock = threading.Lock()
        self._idle: list[Decoder] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the children; they start again if they are needed again."""
        with self._lock:
            idle, self._idle = self._idle, []
        for child in idle:
            child.end()

    def pixels(self, data: bytes, name: str = "", min_side: int = 1) -> NDArray[np.uint8]:
        """Upright RGB [H, W, 3] of a file's content; `name` is for the log.

        Raises:
            UnusablePhotoError: it cannot be used, or ended its decoder, or took too much time or memory.
        """
        found = self.call(PIXELS, data, name, min_side).pixels
        if found.ndim != 3 or found.shape[2] != 3 or min(found.shape[:2]) < min_side:
            raise UnusablePhotoError(Reason.HOSTILE, "its decoder gave no picture")
        return found

    def digest(self, data: bytes, name: str = "", min_side: int = 1) -> str:
        """`digests.of_pixels` of them; raises as `pixels` does."""
        found = str(self.call(DIGEST, data, name, min_side).values.get("digest"))
        if not _DIGEST.fullmatch(found):
            raise UnusablePhotoError(Reason.HOSTILE, "its decoder gave a digest that is none")
        return found

    def crops(self, data: bytes, side: int, count: int, within: tuple[int, int] | None = None) -> list[Crop]:
        """`choose_crops`, with the pixels of each crop; raises as `pixels` does. Nothing is logged: `digest` did.

        Args:
            within: rows and columns of the upper left part that is cut from; all of it by default.
        """
        return self._cut(self._call(CROPS, data, 1, side=side, count=count, within=within), side, count)

    def cut(self, data: bytes, corners: list[tuple[int, int]], side: int) -> list[Crop]:
        """The crops with these upper left corners (x, y); raises as `pixels` does. Nothing is logged."""
        found = self._cut(self._call(CUT, data, 1, corners=corners, side=side), side, len(corners))
        if [(x, y) for x, y, _ in found] != corners:
            raise UnusablePhotoError(Reason.HOSTILE, "its decoder gave other crops than it was asked for")
        return found

    def _cut(self, answer: Answer, side: int, count: int) -> list[Crop]:
        """The crops of an answer, checked: a file may have taken its decoder over."""
        cut = answer.pixels
        try:
            corners = [(int(x), int(y)) for x, y in answer.values["corners"]]
        except (KeyError, TypeError, ValueError, OverflowError):
            corners = []
        inside = all(0 <= side < self.limits.max_pixels for corner in corners for side in corner)
        if not inside or len(corners) > count or cut.shape != (len(corners), side, side, 3):
            raise UnusablePhotoError(Reason.HOSTILE, "its decoder gave other crops than it was asked for")
        return [(x, y, crop) for (x, y), crop in zip(corners, cut, strict=True)]

    def call(self, function: str, data: bytes, name: str, min_side: int, **arguments: Any) -> Answer:
        """What `function` makes of a picture in a child.

        Raises:
            UnusablePhotoError: as of `pixels`.
            RuntimeError: no child starts.
        """
        answer = self._call(function, data, min_side, **arguments)
        for note in answer.notes:
            logger.warning("%s%s", f"{printable(name)}: " if name else "", note)
        return answer

    def _call(self, function: str, data: bytes, min_side: int, **arguments: Any) -> Answer:
        limits = self.limits
        check_size(len(data), limits.max_bytes)
        header = {
            "function": function,
            "arguments": arguments,
            "min_side": min_side,
            "max_pixels": limits.max_pixels,
            "memory": limits.memory(len(data)),
            "seconds": limits.seconds,
        }
        return self._ask(header, data)

    def _ask(self, header: dict[str, Any], data: bytes) -> Answer:
        with self._free:
            with self._lock:
                child = self._idle.pop() if self._idle else None
            # One that was ended while it had nothing to do says nothing about this picture.
            if child is None or child.ended:
                child = Decoder(self._functions, self.limits)
            try:
                return child.ask(header, data)
            except UnusablePhotoError:
                raise
            except BaseException:
                child.end(at_once=True)  # its answer was not read to the end
                raise
            finally:
                if not child.ended:
                    with self._lock:
                        self._idle.append(child)

    def each(
        self, items: Sequence[Item], work: Callable[[Item], Result]
    ) -> Iterator[tuple[Item, Result | UnusablePhotoError]]:
        """`work` of all items, in their order, some ahead of it in threads; where it raises UnusablePhotoError, that.

        Raises:
            Exception: whatever else the work raised.
        """
        count = max(1, min(self.processes, len(items) // PHOTOS_A_CHILD))
        threads = ThreadPoolExecutor(count, "photos")
        waiting: deque[tuple[Item, Future[Result]]] = deque()
        coming = iter(items)
        try:
            while True:
                for item in islice(coming, 1 + AHEAD * count - len(waiting)):
                    waiting.append((item, threads.submit(work, item)))
                if not waiting:
                    return
                first, future = waiting.popleft()
                yield first, _outcome(future.result)
        finally:
            threads.shutdown(cancel_futures=True)


def _outcome(result: Callable[[], Result]) -> Result | UnusablePhotoError:
    try:
        return result()
    except UnusablePhotoError as problem:
        return problem


def _cores() -> int:
    from joblib import cpu_count  # noqa: PLC0415  # counts what the process, or its container, may use

    return cast(int, cpu_count())
