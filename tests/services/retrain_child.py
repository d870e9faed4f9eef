"""A retrain flow run in a process of its own that may kill itself at a point: `retrain_child.py REPOSITORY JSON`."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from prefect import flow

from components.backbones.tiny_flow import TinyFlow
from components.storage.store import Store
from flows.checkout import Checkout
from flows.options import AlignSettings
from flows.promotion_step import PromotionResult, by_gate
from flows.reporter import Reporter
from flows.retrain import LeaseSettings, retrained
from flows.retraining import Retrained, Scope
from tests.made import REPOSITORY

COLOUR = 0.3
"""Of the residual's standard deviation: what `coloured` adds to red and takes from blue."""


def model(name: str) -> TinyFlow:
    """The embedded model as it is (`honest`) or with its last layer changed.

    `fair` swaps the two rows of each square of the detail that it adds. That costs reward and no guard minds it: a
    little noise on all weights would, since it repeats a pattern all over the picture. `coloured` turns pictures red.
    """
    made = TinyFlow.load(REPOSITORY / "components/backbones/weights/tiny_flow", 2, torch.device("cpu"))
    side = made.config.unshuffle
    weights = dict(made.policy.named_parameters())
    bias = weights["unet.conv_out.bias"]
    with torch.no_grad():
        if name == "coloured":
            bias.view(3, -1).add_(COLOUR * torch.tensor([[1.0], [0.0], [-1.0]]))
        if name == "fair":
            for weight in (weights["unet.conv_out.weight"], bias):
                # Channels of the output are a square of pixels folded: colour, row, column.
                weight.copy_(weight.view(3, side, side, -1).flip(1).reshape(weight.shape))
    return made


def change_candidate(repository: str, name: str) -> None:
    """Register another model than the trained one as the candidate, by the stage itself and with its evaluation."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "clone"
        subprocess.run(["git", "clone", "-q", repository, str(root)], check=True, timeout=600)
        subprocess.run(["dvc", "pull", "-q"], cwd=root, check=True, timeout=600)
        other = model(name)
        for path in (root / "models/aligned/best", root / "reports"):
            path.mkdir(parents=True, exist_ok=True)
        other.save(root / "models/aligned/best")
        evaluation = json.loads((root / "reports/evaluation.json").read_text())
        evaluation["digests"]["aligned"] = other.digest("policy")
        (root / "reports/evaluation.json").write_text(json.dumps(evaluation))
        subprocess.run([sys.executable, "-m", "components.register"], cwd=root, check=True, timeout=600)


def main(repository: str, given: dict[str, object]) -> Retrained:
    def reached(point: str) -> None:
        print(f"reached {point}", flush=True)
        if point == "aligned" and point != given.get("fatal") and given.get("candidate"):
            change_candidate(repository, str(given["candidate"]))
        if point == given.get("fatal"):
            os.kill(os.getpid(), signal.SIGKILL)
        if point == given.get("slow"):
            sys.stdin.readline()

    def passes(checkout: Checkout, store: Store, options: AlignSettings, log: Reporter) -> PromotionResult:
        return PromotionResult(True, "promoted by the test")

    promote = passes if given.get("passes") else by_gate

    @flow(name="retrain-test")
    def run() -> Retrained:
        scope, options = Scope.model_validate(given.get("scope", {})), AlignSettings.model_validate(given["options"])
        lease = LeaseSettings.model_validate(given.get("lease", {}))
        return retrained(repository, "main", scope, options, lease, reached, promote)

    return run()


if __name__ == "__main__":
    print("outcome", main(sys.argv[1], json.loads(sys.argv[2])).model_dump_json(), flush=True)
