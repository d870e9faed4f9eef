"""What launching costs: latency on a real cluster, and the launcher's own CPU, memory and requests with many shards.

Each count of shards runs in a process of its own, against an API server in memory that is yet another process, so that
neither hides or adds to what is measured.
"""

import json
import os
import re
import resource
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kubernetes import client

from flows.launchers.base import State, Work
from flows.launchers.kubernetes import KubernetesLauncher
from flows.launchers.settings import KubernetesSettings

CHECKOUT = Path(__file__).parents[2]
TEMPLATE = CHECKOUT / "k8s/stage-job.yaml"
SECONDS_A_JOB = 2.0


@dataclass(frozen=True)
class Cost:
    """Of one run with many shards, all at once.

    Attributes:
        wall: seconds from the first submit to the last end.
        cpu: CPU seconds of the launcher's process over that time, 1000 waiting threads included.
        base_mb, peak_mb: resident memory before the first submit, and the highest.
        calls: requests to the API server by verb and resource, deletions included.
    """

    shards: int
    wall: float
    cpu: float
    base_mb: float
    peak_mb: float
    calls: dict[str, int]

    @property
    def calls_a_shard(self) -> float:
        """Requests over shards."""
        return sum(self.calls.values()) / self.shards

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "calls_a_shard": self.calls_a_shard}


@dataclass(frozen=True)
class Latency:
    """Seconds on a real cluster, one value a Job; the clocks of node and flow must be the same or in step.

    Attributes:
        to_start: from the call of submit to the first instruction of the component's Python.
        to_known: from the component's last instruction to the flow knowing that it has succeeded.
        submit: of the call itself.
    """

    to_start: tuple[float, ...]
    to_known: tuple[float, ...]
    submit: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@contextmanager
def fake_cluster() -> Iterator[str]:
    """URL of an API server in memory, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.parts.fake_api", "--seconds-a-job", str(SECONDS_A_JOB)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=CHECKOUT) as server:
        try:
            assert server.stdout is not None
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


def cost_of(shards: int) -> Cost:
    """Measured in a fresh process."""
    with fake_cluster() as url:
        command = [sys.executable, "-m", "benchmarks.parts.launch_overhead", url, str(shards)]
        done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=CHECKOUT)
    return Cost(**json.loads(done.stdout))


def _run(url: str, shards: int) -> Cost:
    """All shards at once against the server at `url`, a waiting thread each, as a flow without a limit would."""
    configuration = client.Configuration()
    configuration.host = url
    launcher = KubernetesLauncher(KubernetesSettings(image="image", job_template=TEMPLATE), configuration)
    base_mb = _memory_mb()
    states: Counter[State] = Counter()

    def one(number: int) -> None:
        work = Work("run", "generate", f"{number:05d}-of-{shards:05d}", 0, ("components.generate",), gpus=1)
        handle = launcher.submit(work)
        states[launcher.wait(handle).state] += 1
        launcher.delete(handle)

    wall, cpu = time.perf_counter(), time.process_time()
    threads = [threading.Thread(target=one, args=(number,)) for number in range(shards)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    calls = launcher.api_calls
    launcher.close()
    if states != {State.SUCCEEDED: shards}:
        raise RuntimeError(f"of {shards} shards ended: {dict(states)}")
    return Cost(shards, wall, cpu, base_mb, _peak_mb(), dict(calls))


def _memory_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def latency(settings: KubernetesSettings, command: Sequence[str], repeats: int) -> Latency:
    """One Job after another on the cluster that KUBECONFIG names.

    Args:
        command: makes the container print `now <Unix time>` at its start, and again at its end.
    """
    to_start, to_known, submit = [], [], []
    run = f"overhead-{os.getpid()}-{int(time.time())}"
    with KubernetesLauncher(settings) as launcher:
        for number in range(repeats + 1):
            asked = time.time()
            handle = launcher.submit(Work(run, "overhead", str(number), 0, tuple(command)))
            submitted = time.time()
            outcome = launcher.wait(handle)
            known = time.time()
            if outcome.state is not State.SUCCEEDED:
                raise RuntimeError(f"Job {handle}: {outcome.failure}: {outcome.detail}")
            clock = [float(found[1]) for line in launcher.logs(handle) if (found := re.match(r"now ([\d.]+)", line))]
            launcher.delete(handle)
            if number:  # the first pulls the image
                to_start.append(clock[0] - asked)
                to_known.append(known - clock[-1])
                submit.append(submitted - asked)
    return Latency(tuple(to_start), tuple(to_known), tuple(submit))


def spread(values: Sequence[float]) -> str:
    """Median, least and largest."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} .. {max(values):.2f})"


if __name__ == "__main__":
    print(json.dumps(asdict(_run(sys.argv[1], int(sys.argv[2])))))
