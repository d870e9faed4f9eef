"""The trainable control branch of a ControlNet and its frozen reference: a copy, or the branch without its adapter."""

import copy
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from diffusers.utils import SAFETENSORS_WEIGHTS_NAME
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from components.backbones.base import Branch
from components.backbones.controlnet.lora import (
    adapter_off,
    add_adapter,
    branch_state,
    has_adapter,
    load_adapter,
    save_adapter,
)
from components.backbones.controlnet.pretrained import check_shapes, shapes_of
from components.backbones.states import state_digest
from components.errors import BadInput

CONFIG = "config.json"


def make_trainable(branch: nn.Module, lora_rank: int) -> nn.Module | None:
    """Make `branch` the policy, in place; the frozen copy that is its reference, or None where an adapter trains.

    The policy is float32, and so is its copy: in another precision the two would differ before the first step.
    """
    if lora_rank:
        add_adapter(branch, lora_rank)
        return None
    reference = copy.deepcopy(branch).eval().requires_grad_(False)
    branch.requires_grad_(True)
    return reference


def unwrapped(policy: nn.Module) -> nn.Module:
    """The policy inside of what `accelerate` made of it."""
    inner = getattr(policy, "module", policy)  # DistributedDataParallel keeps the model there
    if not isinstance(inner, nn.Module):
        raise TypeError(f"policy is a {type(policy).__name__} without a module inside")
    return inner


@contextmanager
def network_of(branch: Branch, policy: nn.Module, reference: nn.Module | None) -> Iterator[nn.Module]:
    """The network of a branch, to be called within; the policy as it is wrapped, so that processes stay in step."""
    if branch == "policy":
        yield policy
    elif reference is not None:
        yield reference
    else:
        with adapter_off(unwrapped(policy)):
            yield unwrapped(policy)


def state_of(branch: Branch, policy: nn.Module, reference: nn.Module | None) -> dict[str, Tensor]:
    """State dict of a branch as stock diffusers names it, an adapter's products added to the policy's weights."""
    if reference is not None and branch == "reference":
        return reference.state_dict()
    return branch_state(unwrapped(policy), adapted=branch == "policy")


def digest_of(branch: Branch, policy: nn.Module, reference: nn.Module | None) -> str:
    """sha256 of a branch's weights; the same before `save` and after loading what was saved."""
    return state_digest(state_of(branch, policy, reference))


def save(policy: nn.Module, folder: Path) -> None:
    """Write the policy into an existing folder in diffusers' format, an adapter both merged and alone."""
    network = unwrapped(policy)
    config = json.loads(network.to_json_string())  # type: ignore[operator]  # a diffusers model's
    config.pop("_name_or_path", None)  # where it was loaded from: other bytes on every machine
    (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in state_of("policy", policy, None).items()}
    save_file(state, folder / SAFETENSORS_WEIGHTS_NAME, metadata={"format": "pt"})
    if has_adapter(network):
        save_adapter(network, folder)


def load(policy: nn.Module, folder: Path) -> None:
    """Replace the policy's weights by those of a folder that `save` wrote: of its adapter, where it has one.

    Raises:
        BadInput: the folder lacks its file, or that is damaged or of another architecture.
    """
    network = unwrapped(policy)
    if has_adapter(network):
        load_adapter(network, folder)
        return
    path = folder / SAFETENSORS_WEIGHTS_NAME
    if not path.is_file():
        raise BadInput(f"policy folder {folder} has no {SAFETENSORS_WEIGHTS_NAME}; name a folder that `save` wrote")
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    way_out = "set backbone.path to the ControlNet it was trained from"
    check_shapes(shapes_of(path, "policy"), expected, "policy", f"{path} is no policy of this backbone", way_out)
    network.load_state_dict({name: tensor.float() for name, tensor in load_file(path).items()})
