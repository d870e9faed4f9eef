"""One process of FSDP2 trainings on the made project: `torchrun … --module tests.train.child root folder:steps …`.

With 0 steps it is `reduced_of`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, FullyShardedDataParallelPlugin, PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType

from components.train import processes
from components.train.checkpoints import TrainingState
from components.train.trainer import Trainer
from tests.made import tiny_model
from tests.train.rig import double_model, trainer

PLAN: dict[str, Any] = {"beta": 50.0, "micro_batch": 1, "max_gradient_norm": 1.0, "weight_decay": 0.1}


def trainer_of(root: Path, folder: str, steps: int) -> Trainer:
    """A trainer whose validation is the policy's error on three rows: it runs the policy as it is wrapped."""
    chosen = trainer(root, folder, double_model(), steps=steps, **PLAN)
    model = chosen.backbone

    @torch.no_grad()
    def errors(rows: Sequence[int]) -> list[float]:
        found = []
        for row in rows:
            generator = torch.Generator().manual_seed(row)
            lr = torch.rand(1, 3, 8, 8, generator=generator, dtype=torch.float64)
            clean = torch.rand(1, 3, 32, 32, generator=generator, dtype=torch.float64)
            noise = torch.randn(1, 3, 32, 32, generator=generator, dtype=torch.float64)
            t = torch.tensor([0.5], dtype=torch.float64)
            found.append(float(model.error(clean, model.condition(lr, ("",)), t, noise, "policy")))
        return found

    def validate() -> dict[str, float]:
        return {"reward": -sum(processes.share(chosen.accelerator, range(3), errors)) / 3}

    chosen.validate = validate
    return chosen


def reduced_of(root: Path, folder: str) -> Trainer:
    """One step in bfloat16 of a policy that is its reference still."""
    return trainer(root, folder, tiny_model(), steps=1, warmup_steps=1, precision="bf16", **PLAN)


def weights(state: TrainingState) -> dict[str, torch.Tensor]:
    """Last and best policy in one dict."""
    return state.policy | {f"best.{name}": tensor for name, tensor in state.best_policy.items()}


def make_fsdp2(accelerator: Accelerator) -> None:
    """On CPUs accelerate makes plain DDP of FSDP's configuration; here its state says what it does on GPUs."""
    accelerator.state.distributed_type = DistributedType.FSDP
    PartialState._shared_state["distributed_type"] = DistributedType.FSDP
    accelerator.state.fsdp_plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2,
        auto_wrap_policy="transformer_based_wrap",
        transformer_cls_names_to_wrap=["ResnetBlock2D"],
        cpu_ram_efficient_loading=False,
        state_dict_type="FULL_STATE_DICT",
    )
    if accelerator.mixed_precision != "no":
        accelerator.state.fsdp_plugin.set_mixed_precision(accelerator.mixed_precision)
    processes.keep_whole_precision(accelerator)


def main(root: Path, folder: str, steps: int) -> None:
    """Train; the main process writes the weights and the curves, and how much of the policy it holds."""
    chosen = trainer_of(root, folder, steps) if steps else reduced_of(root, folder)
    make_fsdp2(chosen.accelerator)
    state = chosen.run()
    parameters = list(chosen.backbone.policy.parameters())
    if chosen.accelerator.is_main_process:
        held = sum(parameter.to_local().numel() for parameter in parameters)  # type: ignore[operator]  # DTensors
        share = held / sum(parameter.numel() for parameter in parameters)
        found = {"weights": weights(state), "share": share, "log": state.log, "validation": state.validation}
        torch.save(found, root / f"{folder}.pt")


if __name__ == "__main__":
    for task in sys.argv[2:]:
        name, _, count = task.partition(":")
        main(Path(sys.argv[1]), name, int(count))
        AcceleratorState._reset_state()
