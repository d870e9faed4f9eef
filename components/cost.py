"""What a call costs: time, and memory at its peak."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
REPEATS = 5


@dataclass(frozen=True)
class Cost:
    """Median seconds a call, and peak MB during the calls; NaN where the system does not tell."""

    seconds: float
    memory_mb: float


def costs(calls: Sequence[Callable[[], object]], device: torch.device, repeats: int = REPEATS) -> list[Cost]:
    """Costs of each of `calls`, which take turns, so that whatever else slows the machine slows all alike.

    On CUDA the peak is of the tensors on the device, else of the whole process.
    """
    seconds: list[list[float]] = [[] for _ in calls]
    peaks = [0.0 for _ in calls]
    for turn in range(repeats + 1):
        for number, call in enumerate(calls):
            _reset_peak(device)
            started = time.perf_counter()
            call()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            elapsed = time.perf_counter() - started
            if turn:  # the first turn warms up: kernels are chosen, pages are touched
                seconds[number].append(elapsed)
                peaks[number] = max(peaks[number], _peak_mb(device))
    return [Cost(statistics.median(times), peak) for times, peak in zip(seconds, peaks, strict=True)]


def _reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif _CLEAR.exists():
        _CLEAR.write_text("5")  # proc(5): resets the peak resident set size


def _peak_mb(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    if not _STATUS.exists():
        return float("nan")
    for line in _STATUS.read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    return float("nan")
