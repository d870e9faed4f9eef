"""Several processes that train one policy: how they start, share work, and hold weights and optimizer state.

With DDP every process holds all of both, with FSDP2 a part. Checkpoints are as a single process has them: a run may be
continued on another number of processes, or in the other way.
"""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import torch
from accelerate import Accelerator, InitProcessGroupKwargs
from accelerate.utils import gather_object
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.fsdp import MixedPrecisionPolicy
from torch.distributed.tensor import DTensor

from components.errors import BadInput, ResumeLater

PATIENCE = timedelta(hours=2)
"""How long processes wait for one another; torch's default of ten minutes is less than one may take to load a model."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def start(device: torch.device, precision: str) -> Accelerator:
    """The accelerator of this process, as its launcher's environment says."""
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)  # accelerate takes torch's current device
    patience = InitProcessGroupKwargs(timeout=PATIENCE)
    accelerator = Accelerator(mixed_precision=precision, cpu=device.type == "cpu", kwargs_handlers=[patience])
    if accelerator.is_fsdp2:
        keep_whole_precision(accelerator)
    return accelerator


def keep_whole_precision(accelerator: Accelerator) -> None:
    """Let autocast alone lower FSDP2's precision, as with one process.

    accelerate would have FSDP2 round the weights and sum gradients in bfloat16: the policy would then round otherwise
    than its reference, and the difference of their errors, times beta, would be no longer 0 before the first step.
    """
    accelerator.state.fsdp_plugin.mixed_precision_policy = MixedPrecisionPolicy()


def share(
    accelerator: Accelerator, items: Sequence[Item], work: Callable[[Sequence[Item]], list[Result]]
) -> list[Result]:
    """`work` of all items, each done by one of the processes, in the order of `items`; every process gets all results.

    Each process has as many items, some of them twice if need be: with FSDP2 all must call the network equally often.
    `work` gives one result an item.

    Raises:
        BadInput: `work` did, in any process.
    """
    if accelerator.num_processes == 1:
        return work(items)
    rank, world = accelerator.process_index, accelerator.num_processes
    rounds = -(-len(items) // world)
    mine = [min(number * world + rank, len(items) - 1) for number in range(rounds)]
    outcome: list[tuple[int, Result]] | str
    try:
        outcome = list(zip(mine, work([items[place] for place in mine]), strict=True))
    except BadInput as error:  # told to all: the others would wait for this process
        outcome = str(error)
    outcomes = gather_object([outcome])
    failed = [text for text in outcomes if isinstance(text, str)]
    if failed:
        raise BadInput(failed[0])
    found = {place: result for part in outcomes for place, result in part}
    return [found[place] for place in range(len(items))]


def require_same_step(accelerator: Accelerator, step: int) -> None:
    """All processes continue after the same step, each having looked for the newest checkpoint itself.

    Raises:
        ResumeLater: they found different ones; nothing was trained yet.
    """
    if accelerator.num_processes == 1:
        return
    steps = gather_object([step])
    if len(set(steps)) > 1:
        raise ResumeLater(
            f"the processes would continue after different steps, {steps}: one could not read the newest checkpoint, "
            "or an earlier run is still writing; run it again. On several machines run.cache must be a folder that "
            "they share, or run.shared_cache a store"
        )


def trainable(policy: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters that train, by name; with an adapter on a frozen branch only the adapter's."""
    return {name: parameter for name, parameter in policy.named_parameters() if parameter.requires_grad}


def policy_state(accelerator: Accelerator, policy: nn.Module) -> dict[str, Tensor]:
    """State dict of the policy without what is frozen, on the CPU. With FSDP2 all processes must ask for it together.

    Only the main process gets it whole.
    """
    unwrapped = accelerator.unwrap_model(policy)
    frozen = _frozen(unwrapped)
    whole = accelerator.get_state_dict(policy) if accelerator.is_fsdp2 else unwrapped.state_dict()
    return {name: tensor.detach().cpu().clone() for name, tensor in whole.items() if name not in frozen}


def load_policy_state(policy: nn.Module, state: dict[str, Tensor]) -> None:
    """Give a policy that no process has wrapped the weights of `policy_state`.

    Raises:
        RuntimeError: they are of another policy: a defect, since a checkpoint is found by what made it.
    """
    missing, unexpected = policy.load_state_dict(state, strict=False)
    wrong = sorted({*unexpected, *(set(missing) - _frozen(policy))})
    if wrong:
        raise RuntimeError(f"the checkpoint is of another policy: {len(wrong)} tensors differ, first {wrong[:3]}")


def optimizer_state(accelerator: Accelerator, policy: nn.Module, optimizer: Any) -> dict[str, Any]:
    """State dict of AdamW as torch writes it for one process. With FSDP2 all processes must ask for it together."""
    if not accelerator.is_fsdp2:
        state: dict[str, Any] = optimizer.state_dict()
        return state
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    named: dict[str, Any] = get_optimizer_state_dict(policy, optimizer.optimizer, options=options)
    if not accelerator.is_main_process:
        return {}
    (group,) = named["param_groups"]
    by_number = {number: named["state"][name] for number, name in enumerate(group["params"])}
    return {"state": by_number, "param_groups": [{**group, "params": list(by_number)}]}


def load_optimizer_state(accelerator: Accelerator, policy: nn.Module, optimizer: Any, state: dict[str, Any]) -> None:
    """Give AdamW over the trainable parameters of a prepared policy the content of `optimizer_state`."""
    if not accelerator.is_fsdp2:
        optimizer.load_state_dict(state)
        return
    names = list(trainable(policy))
    (group,) = state["param_groups"]
    named: dict[str, Any] = {
        "state": {names[number]: content for number, content in state["state"].items()},
        "param_groups": [{**group, "params": names}],
    }
    set_optimizer_state_dict(policy, optimizer.optimizer, named, options=StateDictOptions(full_state_dict=True))


def number(value: Tensor) -> float:
    """A scalar that may be spread over processes; all of them must ask for it together."""
    whole: Tensor = value.full_tensor() if isinstance(value, DTensor) else value
    return float(whole)


def _frozen(policy: nn.Module) -> set[str]:
    return {name for name, parameter in policy.named_parameters() if not parameter.requires_grad}
