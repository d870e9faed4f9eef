"""Candidates and scores a second by worker processes, against one process of all cores: `python -m benchmarks.workers`.

Both take turns, with the machine as it is, and then beside processes that keep a core busy at a low priority (nice 10),
as other work of a shared machine does. What is compared is a stage's steady state: workers are started and warm, the
start-up is told apart. docs/speed.md has the figures.
"""

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks.parts.project import CHECKOUT
from benchmarks.timing import Comparison, Contender, compare, interleaved
from components.artifacts.images import to_tensor
from components.backbones.loading import load_backbone
from components.generate.sampling import sample_candidates
from components.metrics.suite import Suite
from components.runtime.allocator import keep_freed_memory
from components.runtime.workers import Workers
from components.settings import Settings, load_settings
from components.storage.publish import write_json

TARGET, TARGET_BUSY = 1.1, 3.0
"""Of ours over one process, on an idle machine and beside one busy process."""
CPU = torch.device("cpu")
SPIN = "import os\nos.nice(10)\nwhile True: pass"

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Group:
    """An LR `[h, w, 3]` and its HR; each is used once, as a backbone may keep what it made of an LR."""

    name: str
    lr: Picture
    hr: Picture


def groups(crop: int, scale: int) -> Iterator[Group]:
    """Crops of the committed photos, without end, no two alike."""
    photos = sorted((CHECKOUT / "data/photos").glob("*.jpg"))
    for turn in itertools.count():
        for path in photos:
            photo = np.asarray(Image.open(path).convert("RGB"))
            top, left = (min(17 * turn, side - crop) for side in photo.shape[:2])
            hr = np.ascontiguousarray(photo[top : top + crop, left : left + crop])
            small = Image.fromarray(hr).resize((crop // scale, crop // scale), Image.Resampling.BICUBIC)
            yield Group(f"{path.stem} {turn}", np.asarray(small), hr)


def generator(settings: Settings) -> Callable[[Group], int]:
    """Makes the settings' candidates of a group; how many."""
    backbone = load_backbone(settings, CHECKOUT, CPU)
    made, fix = settings.generate, settings.backbone.colour_fix

    def generate(group: Group) -> int:
        indexes = range(made.candidates)
        return len(sample_candidates(backbone, to_tensor(group.lr), "", group.name, indexes, made.batch, fix))

    return generate


def scorer(settings: Settings) -> Callable[[Group], int]:
    """Scores noisy copies of a group's HR by the settings' metrics; how many values."""
    suite = Suite.load(settings.score.all_metrics, CPU)

    def score(group: Group) -> int:
        noise = np.random.default_rng(0).normal(0, 8, (settings.generate.candidates, *group.hr.shape))
        candidates = to_tensor(*(group.hr + noise).clip(0, 255).astype(np.uint8))
        with torch.inference_mode():
            found = suite.score(candidates, to_tensor(group.hr), to_tensor(group.lr), settings.score.batch)
        return sum(len(values) for values in found.values.values())

    return score


LOADS: dict[str, tuple[str, Callable[[Settings], Callable[[Group], int]]]] = {
    "generate": ("candidates/s", generator),
    "score": ("scores/s", scorer),
}


@contextmanager
def busy_processes(busy: int) -> Iterator[None]:
    """So many processes, of a low priority, each of which keeps a core busy."""
    spinning = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(busy)]
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()


def measure(part: str, settings: Settings, count: int, items: int, rounds: int, busy: Sequence[int]) -> dict[str, Any]:
    """Workers against one process, for each number of busy processes beside them; start-up in seconds."""
    unit, load = LOADS[part]
    source = groups(settings.prepare.crop, settings.prepare.scale)
    work = load(settings)
    units = items * work(next(source))
    cores = len(os.sched_getaffinity(0))

    def one_process() -> None:
        torch.set_num_threads(cores)
        for group in itertools.islice(source, items):
            work(group)

    result: dict[str, Any] = {"part": part, "workers": count, "threads": cores, "comparisons": []}
    chosen = settings.model_copy(update={"run": settings.run.model_copy(update={"workers": count})})
    with Workers(partial(load, settings), chosen, count) as workers:
        began = time.perf_counter()
        list(workers.each(list(itertools.islice(source, count))))
        result["start_up"] = time.perf_counter() - began
        ours = Contender(f"{count} workers", units, lambda: list(workers.each(list(itertools.islice(source, items)))))
        peer = Contender(f"one process, {cores} threads", units, one_process)
        for number in busy:
            with busy_processes(number):
                laps = interleaved([ours, peer], rounds)
            target = {0: TARGET, 1: TARGET_BUSY}.get(number)
            result["comparisons"].append(compare(f"{part}, {number} busy beside", unit, laps, ours, peer, target))
    return result


def show(result: dict[str, Any]) -> str:
    """A line a comparison."""
    rows: list[Comparison] = result["comparisons"]
    lines = [f"{result['part']}: workers started within {result['start_up']:.1f} s"]
    for row in rows:
        wanted = f"   wanted >= {row.target:g}" if row.target else ""
        lines.append(
            f"  {row.name:<26} {row.ours:8.2f} {row.unit} against {row.peer:8.2f} of {row.peer_name}: "
            f"{row.wall}{wanted}"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.workers", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--only", nargs="+", choices=list(LOADS), default=list(LOADS), metavar="STAGE")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="default: one a core")
    parser.add_argument("--items", type=int, default=8, help="LR images a turn")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each")
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1], metavar="N", help="busy processes beside")
    parser.add_argument("--params", type=Path, default=CHECKOUT / "params.yaml")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write everything measured here as well")
    options = parser.parse_args(arguments)
    keep_freed_memory()
    load = statistics.mean(os.getloadavg()[:2])
    print(f"{len(os.sched_getaffinity(0))} cores, load average {load:.1f} before the start")
    results = []
    for part in options.only:
        settings = load_settings(options.params)
        results.append(measure(part, settings, options.workers, options.items, options.rounds, options.busy))
        print(show(results[-1]), flush=True)
    if options.json:
        plain = [result | {"comparisons": [row.to_json() for row in result["comparisons"]]} for result in results]
        write_json(options.json, {"load": load, "parts": plain})


if __name__ == "__main__":
    main()
