"""What restoring would take, before it is done: which pictures, how many tiles, time, and memory."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from components.cost import costs
from components.errors import BadInput
from components.upscale.carried import Pixels
from components.upscale.jobs import Failure, Job
from components.upscale.picture import check_size
from components.upscale.request import Request
from components.upscale.size import Size
from components.upscale.tiles import spans

IN_OUTPUTS = 5
"""Pictures of the result's size at once: as the model makes it and resized, the one that is being written, its copy
with alpha, and its file."""


@dataclass(frozen=True)
class Open:
    """A picture that would be restored: names, sizes in px, and tiles."""

    input: str
    output: str
    width: int
    height: int
    result_width: int
    result_height: int
    tiles: int

    @property
    def described(self) -> str:
        """For people."""
        sizes = f"{self.width} x {self.height} -> {self.result_width} x {self.result_height} px"
        return f"{self.output}: {sizes}, {self.tiles} {'tile' if self.tiles == 1 else 'tiles'}"


@dataclass
class Forecast:
    """What a run would do.

    Attributes:
        open: would be restored.
        skipped: outputs that are there already.
        failed: would not be restored.
        seconds: of all tiles, from the time of one; None where nothing is open.
        memory_mb: about the most that this process would have, 10^6 bytes; on a GPU what its tensors take. None where
            nothing is open, or where the system does not tell.
        pictures_mb: of it, or beside the GPU's, what the largest picture and its result take.
    """

    open: list[Open] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)
    seconds: float | None = None
    memory_mb: int | None = None
    pictures_mb: int | None = None
    on_gpu: bool = False

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def as_text(self) -> str:
        """For people: each picture, and what all take."""
        counts = f"{len(self.open)} to restore, {len(self.skipped)} there already"
        lines = [f"{counts}, {len(self.failed)} cannot be restored", *(f"  {one.described}" for one in self.open)]
        lines += [f"  {one.name}: {one.reason}" for one in self.failed]
        if self.seconds is not None:
            need = "unknown memory" if self.memory_mb is None else f"{self.memory_mb} MB of memory"
            if self.on_gpu:
                need = f"{self.memory_mb} MB on the GPU, and {self.pictures_mb} MB beside it for pictures"
            lines.append(f"about {_clock(self.seconds)}, {need}, from one tile that was tried")
        return "\n".join([*lines, "nothing was written"])


class Forecaster:
    """Collects pictures, and restores one tile to know what the others take.

    Args:
        request: the model, and what is asked of it.
        size: of what would be written.
    """

    def __init__(self, request: Request, size: Size) -> None:
        self._request, self._size = request, size
        self._largest: Pixels | None = None
        self._widest = 0
        self.forecast = Forecast()

    def add(self, job: Job, pixels: Pixels) -> None:
        """A picture that is open, `[h, w, 3]`."""
        height, width = pixels.shape[:2]
        backbone, tiling = self._request.upscaler.backbone, self._request.upscaler.tiling
        try:
            size = self._size.of(width, height, backbone.scale)
            check_size(job.target, *size)
        except BadInput as problem:
            self.forecast.failed.append(Failure(job.name, str(problem)))
            return
        tiles = len(spans(height, tiling.tile, tiling.overlap)) * len(spans(width, tiling.tile, tiling.overlap))
        self.forecast.open.append(Open(str(job.source), str(job.target), width, height, *size, tiles))
        if self._largest is None or pixels.size > self._largest.size:
            self._largest = pixels
        self._widest = max(self._widest, width)

    def finish(self) -> Forecast:
        """The forecast, with time and memory from one tile of the largest picture.

        Raises:
            BadInput: the tile cannot be restored, as no picture could.
        """
        if self._largest is None:
            return self.forecast
        upscaler = self._request.upscaler
        tile = np.ascontiguousarray(self._largest[: upscaler.tiling.tile, : upscaler.tiling.tile])
        device = upscaler.backbone.device
        others = itertools.cycle([tile, tile[::-1], tile[:, ::-1]])  # of a known LR a backbone may have kept something
        (cost,) = costs([lambda: self._request(np.ascontiguousarray(next(others)))], device, repeats=1)
        forecast, pictures = self.forecast, self._pictures() / 1e6
        forecast.on_gpu = device.type == "cuda"
        forecast.seconds = round(cost.seconds * sum(_areas(forecast.open, upscaler.tiling.tile)) / (tile.size / 3), 1)
        forecast.pictures_mb = round(pictures)
        if not math.isnan(cost.memory_mb):
            forecast.memory_mb = round(cost.memory_mb + (0 if forecast.on_gpu else pictures))
        return forecast

    def _pictures(self) -> int:
        """Bytes of pictures beside one tile's work: the largest one, its result, and a band of tiles in float32."""
        assert self._largest is not None
        upscaler = self._request.upscaler
        scale, tile = upscaler.backbone.scale, upscaler.tiling.tile
        band = 2 * min(tile, self._largest.shape[0]) * scale * self._widest * scale * 3 * 4
        return int(2 * self._largest.nbytes + IN_OUTPUTS * self._largest.nbytes * scale**2 + band)


def _areas(pictures: Iterable[Open], tile: int) -> Iterable[int]:
    """LR px that the tiles of each picture have together; those that overlap count each time."""
    for one in pictures:
        yield one.tiles * min(one.width, tile) * min(one.height, tile)


def _clock(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
