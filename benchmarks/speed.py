"""Speed and memory in one run, each against a plain loop of the public kind: `python -m benchmarks.speed`.

Ours and its peers take turns, so that whatever else the machine does meets them alike; what is printed is the median
over the rounds, and the least and largest. docs/speed.md has the figures.
"""

import argparse
import os
import platform
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from benchmarks.parts import candidates, controlnet, incremental, memory, pairs, scores
from benchmarks.parts.project import CHECKOUT
from benchmarks.timing import Comparison
from components.backbones.model_config import CONFIG
from components.errors import BadInput, ExitCode
from components.runtime.allocator import keep_freed_memory
from components.stages import STAGES
from components.storage.publish import write_json

PARTS = ("pairs", "candidates", "controlnet", "scores", "incremental", "memory")
COMPARED = ("pairs", "candidates", "controlnet", "scores")
COMMITTED_MODEL = Path("components/backbones/weights/tiny_flow")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed",
        description="Measures ours against plain loops of the public kind, taking turns, and peak memory.",
        epilog="Each part takes about a minute on one core. Example: python -m benchmarks.speed --only pairs scores",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--json", type=Path, metavar="OUT", help="write everything measured here as well")
    parser.add_argument("--model", type=Path, metavar="FOLDER", help="backbone; default: the committed one")
    parser.add_argument("--threads", type=int, default=1, help="torch threads of the parts with a peer")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each contender")
    parser.add_argument("--top", type=int, default=8, help="N, winners and losers a group (pairs)")
    parser.add_argument("--peer-pairs", type=int, default=8, help="pairs the peer does a turn (pairs)")
    parser.add_argument("--candidates", type=int, default=16, help="M, candidates an LR image")
    parser.add_argument(
        "--widths", type=int, nargs=4, default=controlnet.WIDTHS, help="of the UNet's levels (controlnet)"
    )
    parser.add_argument(
        "--peer-candidates", type=int, default=4, help="candidates a peer makes a turn (candidates, controlnet)"
    )
    parser.add_argument(
        "--steps", type=int, default=6, help="steps of the sampler (candidates, controlnet, incremental)"
    )
    parser.add_argument("--metrics", nargs="+", help="default: those of the embedded preset that pyiqa has (scores)")
    parser.add_argument("--lrs", type=int, default=20, help="LR images before a tenth more comes (incremental)")
    parser.add_argument("--incremental-candidates", type=int, default=4, help="M (incremental)")
    parser.add_argument("--memory-lrs", type=int, default=4, help="n of n and 3 n LR images (memory)")
    parser.add_argument("--stages", nargs="+", default=list(STAGES), choices=list(STAGES), metavar="STAGE",
                        help="stages to run, each needs those before it (memory)")  # fmt: skip
    return parser.parse_args(arguments)


def machine() -> dict[str, Any]:
    """Where the figures are from."""
    cpu = next(
        (line.split(":")[1].strip() for line in _cpu_info() if line.startswith("model name")), platform.processor()
    )
    packages = ("torch", "diffusers", "pyiqa", "numpy")
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "dtype": "float32",
        "load": os.getloadavg()[0],
        "versions": {"python": platform.python_version(), **{name: metadata.version(name) for name in packages}},
    }


def _cpu_info() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.is_file() else []


def backbone_folder(asked: Path | None) -> Path | None:
    """The folder asked for, else the committed model; None where there is none yet.

    Raises:
        BadInput: the folder asked for holds no model.
    """
    if asked is not None and not (asked / CONFIG).is_file():
        raise BadInput(f"--model {asked} has no {CONFIG}; give a folder that the backbone's `save` wrote")
    if asked is not None:
        return asked
    return CHECKOUT / COMMITTED_MODEL if (CHECKOUT / COMMITTED_MODEL / CONFIG).is_file() else None


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Run the parts asked for, print each when it is done, and return everything as plain values."""
    torch.set_num_threads(options.threads)
    keep_freed_memory()  # as every stage does; the peers have it as well
    folder = backbone_folder(options.model)
    result: dict[str, Any] = {"machine": machine(), "model": "random weights" if folder is None else folder.name}
    print_machine(result)
    for part in options.only:
        if part in COMPARED:
            comparisons = compared(part, options, folder)
            print_comparisons(comparisons)
            result[part] = [comparison.to_json() for comparison in comparisons]
        elif part == "incremental":
            cost = incremental.measure(folder, options.lrs, options.incremental_candidates, options.steps)
            print_incremental(cost)
            result[part] = cost.to_json()
        else:
            peaks = memory.measure(folder, options.memory_lrs, options.candidates, options.stages)
            print_memory(peaks)
            result[part] = peaks.to_json()
    return result


def compared(part: str, options: argparse.Namespace, folder: Path | None) -> list[Comparison]:
    """One of the parts that have a peer."""
    if part == "pairs":
        return pairs.measure(CHECKOUT, folder, options.top, options.peer_pairs, options.rounds)
    if part == "candidates":
        return candidates.measure(
            CHECKOUT, folder, options.candidates, options.peer_candidates, options.steps, options.rounds
        )
    if part == "controlnet":
        return controlnet.measure(
            CHECKOUT, options.candidates, options.peer_candidates, options.steps, options.rounds, tuple(options.widths)
        )
    return scores.measure(CHECKOUT, options.metrics or scores.metrics_with_peer(), options.candidates, options.rounds)


def print_machine(result: dict[str, Any]) -> None:
    """What the figures below depend on."""
    place = result["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in place["versions"].items())
    print(f"{place['cpu']}, {place['cores']} cores usable, {place['threads']} torch threads, {place['dtype']}")
    print(f"load average {place['load']:.1f}; {versions}; backbone: {result['model']}")


def print_comparisons(comparisons: Sequence[Comparison]) -> None:
    """One row a comparison."""
    titles = f"{'ours/s':>8} {'peer/s':>8}  {'ratio (min .. max)':<22} {'by CPU time':<22} target"
    print(f"\n{'what':<20} {'peer':<31} {titles}")
    for row in comparisons:
        target = f">= {row.target:g}" if row.target else ""
        print(
            f"{row.name:<20} {row.peer_name:<31} {row.ours:>8.2f} {row.peer:>8.2f}  {row.wall!s:<22} {row.cpu!s:<22} "
            f"{target}"
        )


def print_incremental(cost: incremental.Incremental) -> None:
    """One row a run and stage, then the fractions."""
    print(f"\n{'LR images':<28} {'stage':<10} {'seconds':>7} {'CPU s':>7} {'made':>9} {'in cache':>9}")
    for name, phase in (("all new", cost.full), ("nothing new", cost.idle), ("a tenth more", cost.added)):
        for stage, wall in phase.wall.items():
            counts = f"{phase.made[stage]:>9} {phase.found[stage]:>9}"
            print(f"{f'{phase.lrs}, {name}':<28} {stage:<10} {wall:>7.1f} {phase.cpu[stage]:>7.1f} {counts}")
    print(
        f"a tenth more costs {cost.fraction_wall:.1%} of all by wall clock, {cost.fraction_cpu:.1%} by CPU time, "
        f"{cost.without_start_up:.1%} without start-up (target <= {cost.target:.0%})"
    )


def print_memory(peaks: memory.Memory) -> None:
    """One row a stage."""
    print(f"\n{'stage':<12} {f'peak MiB, {peaks.lrs} LR':>18} {f'{3 * peaks.lrs} LR':>10}")
    for stage, peak in peaks.peak_mb.items():
        tripled = f"{peaks.tripled[stage]:.0f}" if stage in peaks.tripled else ""
        print(f"{stage:<12} {peak:>18.0f} {tripled:>10}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code."""
    options = parse(arguments)
    try:
        result = measure(options)
    except BadInput as error:
        print(f"benchmarks.speed: {error}", file=sys.stderr)
        return ExitCode.BAD_INPUT
    if options.json:
        write_json(options.json, result)
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(main())
