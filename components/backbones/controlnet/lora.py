"""Low-rank adapters on a control branch: the policy is the branch with its adapter, the reference is the same without.

LoRA (Hu et al., arXiv 2106.09685) on every linear and convolutional layer; the scale alpha/rank is 1.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from components.backbones.states import mismatched_keys
from components.errors import BadInput

NAME = "default"
ADAPTER = "adapter.safetensors"
"""Beside the merged weights, so that training can go on from a saved policy."""


def add_adapter(branch: nn.Module, rank: int) -> None:
    """Freeze `branch` and put an adapter of `rank` on its layers, in place.

    The second factor of each product starts at zero: the adapted branch is the branch. The first factors are the same
    in every process and run.
    """
    layers = [name for name, module in branch.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    branch.requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=rank, target_modules=layers), branch, adapter_name=NAME)


@contextmanager
def adapter_off(branch: nn.Module) -> Iterator[None]:
    """Within, `branch` computes what it did before it had an adapter."""
    layers = _layers(branch).values()
    trains = [(parameter, parameter.requires_grad) for parameter in branch.parameters()]
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)
        for parameter, before in trains:  # peft makes all of an enabled adapter train, whoever froze some of it
            parameter.requires_grad_(before)


def has_adapter(branch: nn.Module) -> bool:
    """Whether `add_adapter` was called on `branch`."""
    return bool(_layers(branch))


@torch.no_grad()
def branch_state(branch: nn.Module, *, adapted: bool) -> dict[str, Tensor]:
    """State dict under the names the branch had without an adapter; `adapted` adds the adapter's products."""
    layers = _layers(branch)
    state = {
        name.replace(".base_layer.", "."): tensor.detach()
        for name, tensor in branch.state_dict().items()
        if ".lora_" not in name
    }
    if adapted:
        for name, layer in layers.items():
            state[f"{name}.weight"] = state[f"{name}.weight"] + layer.get_delta_weight(NAME)
    return state


def save_adapter(branch: nn.Module, folder: Path) -> None:
    """Write the adapter alone into an existing folder."""
    save_file(_adapter_state(branch), folder / ADAPTER)


def load_adapter(branch: nn.Module, folder: Path) -> None:
    """Replace the adapter's weights by those that `save_adapter` wrote.

    Raises:
        BadInput: there is no adapter file, it is damaged, or it is of another rank or branch.
    """
    path = folder / ADAPTER
    if not path.is_file():
        raise BadInput(f"{folder} has no {ADAPTER}, so it was not trained with an adapter: set backbone.lora_rank to 0")
    try:
        state: Mapping[str, Tensor] = load_file(path)
    except SafetensorError as error:
        raise BadInput(f"{path} is damaged ({error}); restore it from its source") from error
    wrong = mismatched_keys(state, _adapter_state(branch))
    if wrong:
        raise BadInput(
            f"{path} does not fit: {len(wrong)} tensors differ in name or shape, first {wrong[:3]}; "
            "set backbone.lora_rank and backbone.path to what it was trained with"
        )
    branch.load_state_dict(dict(state), strict=False)


def _adapter_state(branch: nn.Module) -> dict[str, Tensor]:
    return {
        name: tensor.detach().cpu().contiguous() for name, tensor in branch.state_dict().items() if ".lora_" in name
    }


def _layers(branch: nn.Module) -> dict[str, LoraLayer]:
    return {name: module for name, module in branch.named_modules() if isinstance(module, LoraLayer)}
