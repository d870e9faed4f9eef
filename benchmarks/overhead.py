"""What a run on a cluster costs besides its work: `python -m benchmarks.overhead`. docs/overhead.md has the figures."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.parts import launch_overhead
from components.errors import BadInput, ExitCode
from components.storage.publish import write_json
from flows.launchers.settings import KubernetesSettings, Resources

PARTS = ("shards", "latency")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.overhead",
        description="The kubernetes launcher's own CPU, memory and API calls with many shards, against an API server "
        "in memory; and with a real cluster (KUBECONFIG) the time from submit to start, and from end to knowing it.",
        epilog="Example: python -m benchmarks.overhead --only latency --image registry/image@sha256:… --namespace try",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, default=["shards"], metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--shards", nargs="+", type=int, default=[1, 10, 100, 1000], metavar="N")
    parser.add_argument("--image", help="image with Python (latency)")
    parser.add_argument("--namespace", default="default", help="where Jobs may be made (latency)")
    parser.add_argument("--template", type=Path, default=launch_overhead.TEMPLATE, help="Job template (latency)")
    parser.add_argument("--command", nargs="+", default=["clock"], metavar="WORD", help="arguments of the container, "
                        "which prints `now <Unix time>` first and last (latency)")  # fmt: skip
    parser.add_argument("--repeats", type=int, default=10, help="Jobs after the first (latency)")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write everything measured here as well")
    return parser.parse_args(arguments)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Run the parts asked for, print each when it is done, and return everything as plain values."""
    result: dict[str, Any] = {"load": os.getloadavg()[0]}
    print(f"{len(os.sched_getaffinity(0))} cores, load average {result['load']:.1f}")
    if "shards" in options.only:
        result["shards"] = print_shards(options.shards)
    if "latency" in options.only:
        result["latency"] = print_latency(options)
    return result


def print_shards(counts: Sequence[int]) -> list[dict[str, Any]]:
    """One row a count."""
    titles = ("shards", "wall s", "CPU s", "CPU ms/shard", "start MiB", "peak MiB", "calls/shard")
    print("\n" + " ".join(f"{title:>12}" for title in titles))
    rows = []
    for count in counts:
        cost = launch_overhead.cost_of(count)
        rows.append(cost.to_json())
        figures = (cost.wall, cost.cpu, 1000 * cost.cpu / count, cost.base_mb, cost.peak_mb, cost.calls_a_shard)
        calls = ", ".join(f"{number} {name}" for name, number in sorted(cost.calls.items()))
        print(f"{count:>12} " + " ".join(f"{figure:>12.2f}" for figure in figures) + f"   {calls}", flush=True)
    return rows


def print_latency(options: argparse.Namespace) -> dict[str, Any]:
    """Median, least and largest.

    Raises:
        BadInput: no image is given.
    """
    if not options.image:
        raise BadInput("--only latency needs --image: one that the cluster can pull, with Python in it")
    settings = KubernetesSettings(
        image=options.image,
        namespace=options.namespace,
        job_template=options.template,
        service_account="default",
        secrets=(),
        optional_secrets=(),
        config_maps=(),
        resources={"default": Resources(cpu="50m", memory="64Mi")},
    )
    seconds = launch_overhead.latency(settings, options.command, options.repeats)
    print(f"\n{'seconds, median (least .. largest)':<60} of {options.repeats} Jobs")
    for name, values in (
        ("submit, the call", seconds.submit),
        ("submit to the component's first instruction", seconds.to_start),
        ("the component's last instruction to the flow knowing", seconds.to_known),
    ):
        print(f"{name:<60} {launch_overhead.spread(values)}")
    return seconds.to_json()


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code."""
    options = parse(arguments)
    try:
        result = measure(options)
    except BadInput as error:
        print(f"benchmarks.overhead: {error}", file=sys.stderr)
        return ExitCode.BAD_INPUT
    if options.json:
        write_json(options.json, result)
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(main())
