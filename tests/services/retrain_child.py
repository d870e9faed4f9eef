"""A retrain flow run in a process of its own that may kill itself at a point: `retrain_child.py REPOSITORY JSON`."""

import json
import os
import signal
import sys

from prefect import flow

from components.artifacts.store import Store
from flows import promotion_step
from flows.align import AlignSettings
from flows.checkout import Checkout
from flows.retrain import LeaseSettings, Retrained, Scope, retrained
from flows.stages import Reporter


def main(repository: str, given: dict[str, object]) -> Retrained:
    def reached(point: str) -> None:
        print(f"reached {point}", flush=True)
        if point == given.get("fatal"):
            os.kill(os.getpid(), signal.SIGKILL)
        if point == given.get("slow"):
            sys.stdin.readline()

    def passes(checkout: Checkout, store: Store, options: AlignSettings, log: Reporter) -> promotion_step.Told:
        return promotion_step.Told(True, "promoted by the test")

    promote = passes if given.get("passes") else promotion_step.by_gate

    @flow(name="retrain-test")
    def run() -> Retrained:
        scope, options = Scope.model_validate(given.get("scope", {})), AlignSettings.model_validate(given["options"])
        lease = LeaseSettings.model_validate(given.get("lease", {}))
        return retrained(repository, "main", scope, options, lease, reached, promote)

    return run()


if __name__ == "__main__":
    print("outcome", main(sys.argv[1], json.loads(sys.argv[2])).model_dump_json(), flush=True)
