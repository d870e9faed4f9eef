"""Weights and optimizer state as a single process has them, however the processes hold them.

With DDP every process holds all of both, with FSDP2 a part. Checkpoints are the same for all: a run may be continued
on another number of processes, or in the other way.
"""

from typing import Any

from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.tensor import DTensor


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
