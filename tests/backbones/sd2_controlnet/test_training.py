"""Errors of C-SD2 against plain two-call computation; adapters, precision and memory in training."""

import copy
import gc
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from diffusers import ControlNetModel
from torch import Tensor, nn

from components.backbones import sd2_controlnet
from components.backbones.restore import sample
from components.backbones.sd2_controlnet import SD2ControlNet
from tests.backbones.sd2_controlnet.rig import Folders, change, denoising, lrs, plain_error
from tests.backbones.tiny_pipelines import SD2


@pytest.mark.parametrize("kind", ["sd2", "sd1_v"])
def test_both_errors_at_once_are_two_plain_computations(kind: str, request: pytest.FixtureRequest) -> None:
    model: SD2ControlNet = request.getfixturevalue(kind).load(conditioning_scale=0.8)
    change(model.policy)
    arguments = denoising(model)
    policy, reference = model.errors(*arguments)
    assert policy.dtype == reference.dtype == torch.float32
    assert model.reference is not None
    assert torch.allclose(policy, plain_error(model, model.policy, *arguments), rtol=1e-5)
    assert torch.allclose(reference, plain_error(model, model.reference, *arguments), rtol=1e-5)
    assert torch.equal(policy, model.error(*arguments, "policy"))
    assert torch.equal(reference, model.error(*arguments, "reference"))
    assert not torch.allclose(policy, reference, rtol=1e-3)

    (policy * torch.tensor([1.0, -2.0])).sum().backward()
    gradients = {name: weight.grad for name, weight in model.policy.named_parameters()}
    twin = copy.deepcopy(model.policy)
    twin.zero_grad()
    (plain_error(model, twin, *arguments) * torch.tensor([1.0, -2.0])).sum().backward()
    for name, weight in twin.named_parameters():
        assert gradients[name] is not None, name
        assert torch.allclose(gradients[name], weight.grad, rtol=1e-3, atol=1e-6), name
    frozen = [model.unet.unet, model.vae, model.text.encoder, model.reference]
    assert all(weight.grad is None and not weight.requires_grad for part in frozen for weight in part.parameters())
    assert not reference.requires_grad


def test_the_first_half_of_the_unet_runs_once(sd2: Folders) -> None:
    calls: list[str] = []
    hooks = [
        getattr(sd2.plain.unet.unet, name).register_forward_hook(lambda *_, name=name: calls.append(name))
        for name in ("conv_in", "mid_block", "conv_out")
    ]
    sd2.plain.errors(*denoising(sd2.plain))
    for hook in hooks:
        hook.remove()
    assert calls == ["conv_in", "mid_block", "conv_out", "conv_out"]


@pytest.mark.parametrize("lora_rank", [0, 2])
def test_before_the_first_step_policy_and_reference_agree_to_the_bit(sd2: Folders, lora_rank: int) -> None:
    model = sd2.load(lora_rank=lora_rank)
    arguments = denoising(model)
    policy, reference = model.errors(*arguments)
    assert torch.equal(policy, reference)
    assert model.digest("policy") == model.digest("reference")
    policy.sum().backward()
    before = model.digest("reference")
    change(model.policy)
    policy, after = model.errors(*arguments)
    assert not torch.allclose(policy, reference, rtol=1e-3)
    assert torch.equal(after, reference)
    assert model.digest("reference") == before != model.digest("policy")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_they_agree_in_reduced_precision_too(sd2: Folders, dtype: str) -> None:
    """Wrapped as training wraps it: the policy's residuals then come as float32, the reference's as bfloat16."""
    model = sd2.load(dtype=dtype)
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(mixed_precision="bf16", cpu=True)
    model.policy = accelerator.prepare(model.policy)
    with accelerator.autocast():
        policy, reference = model.errors(*denoising(model))
    AcceleratorState._reset_state(reset_partial_state=True)
    assert torch.equal(policy, reference)
    assert policy.dtype == torch.float32
    policy.sum().backward()
    assert {weight.grad.dtype for weight in model.policy.parameters() if weight.grad is not None} == {torch.float32}
    assert model.digest("policy") == model.digest("reference")


def test_an_adapter_trains_alone_and_its_reference_is_the_branch_without_it(sd2: Folders) -> None:
    full, model = sd2.plain, sd2.load(lora_rank=2)
    assert model.reference is None
    assert model.digest("reference") == full.digest("reference")
    trainable = {name for name, weight in model.policy.named_parameters() if weight.requires_grad}
    assert trainable
    assert all(".lora_" in name for name in trainable)
    change(model.policy)
    policy, reference = model.errors(*denoising(model))
    assert torch.equal(reference, full.errors(*denoising(full))[1])
    policy.sum().backward()
    for name, weight in model.policy.named_parameters():
        assert (weight.grad is not None) == (name in trainable), name


@pytest.mark.parametrize("lora_rank", [0, 2])
def test_the_frozen_backbone_is_in_memory_once(sd2: Folders, lora_rank: int) -> None:
    def stored() -> dict[int, Tensor]:
        gc.collect()
        # By exact type: the compiler's tensors without storage, left by other tests, have no address to ask for. Held
        # in the result, so that an address is not given out again.
        tensors = [thing for thing in gc.get_objects() if type(thing) in (Tensor, nn.Parameter)]
        return {tensor.untyped_storage().data_ptr(): tensor for tensor in tensors if tensor.device.type == "cpu"}

    def size(*parts: nn.Module) -> int:
        return sum(weight.numel() * 4 for part in parts for weight in part.parameters())

    before = stored()
    model = sd2.load(lora_rank=lora_rank)
    added = sum(tensor.untyped_storage().nbytes() for place, tensor in stored().items() if place not in before)
    control = ControlNetModel.from_pretrained(sd2.control)
    adapter = sum(weight.numel() * 4 for name, weight in model.policy.named_parameters() if ".lora_" in name)
    expected = size(model.unet.unet, model.vae, model.text.encoder) + size(control) * (1 if lora_rank else 2) + adapter
    assert expected <= added < expected + 30_000  # position ids, noise levels and their timesteps
    assert size(model.unet.unet) > 200_000


def test_recomputing_activations_changes_no_gradient(sd2: Folders) -> None:
    runs = []
    for recompute in (False, True):
        model = sd2.load(gradient_checkpointing=recompute)
        change(model.policy)
        calls: list[int] = []
        model.policy.down_blocks[0].resnets[0].register_forward_pre_hook(lambda *_, calls=calls: calls.append(1))
        model.unet.unet.up_blocks[0].resnets[0].register_forward_pre_hook(lambda *_, calls=calls: calls.append(2))
        model.error(*denoising(model), "policy").sum().backward()
        runs.append((calls, [weight.grad for weight in model.policy.parameters()]))
    assert sorted(runs[0][0]) == [1, 2]
    assert sorted(runs[1][0]) == [1, 1, 2, 2]  # once more in the backward pass
    for plain, recomputed in zip(runs[0][1], runs[1][1], strict=True):
        assert torch.allclose(plain, recomputed, rtol=1e-4, atol=1e-7)


def test_compiled_networks_give_the_same_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With dynamo alone: it traces all that a compiler would get, without minutes of compiling."""
    one_level = {
        "block_out_channels": (16,),
        "attention_head_dim": 2,
        "down_block_types": ("CrossAttnDownBlock2D",),
        "up_block_types": ("CrossAttnUpBlock2D",),
    }
    folders = Folders(tmp_path, network=SD2 | one_level)
    seen: list[int] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Any:
        seen.append(len(graph.graph.nodes))
        return graph.forward

    monkeypatch.setattr(sd2_controlnet, "COMPILE_BACKEND", backend)
    torch.compiler.reset()
    compiled = folders.load(compile=True)
    arguments = denoising(compiled, 1)
    with torch.no_grad():
        error = compiled.error(*arguments, "policy")
    assert torch.allclose(error, folders.plain.error(*arguments, "policy"), rtol=1e-5)
    assert len(seen) == 3  # down and middle, policy, up: no graph breaks
    assert set(compiled.policy.state_dict()) == set(folders.plain.policy.state_dict())
    torch.compiler.reset()


def test_reduced_precision_is_for_what_is_frozen(sd2: Folders) -> None:
    plain, half = sd2.plain, sd2.load(dtype="bfloat16")
    assert {weight.dtype for weight in half.policy.parameters()} == {torch.float32}
    frozen = (half.unet.unet, half.vae, half.text.encoder)
    assert {weight.dtype for part in frozen for weight in part.parameters()} == {torch.bfloat16}
    arguments = denoising(half)
    policy, reference = half.errors(*arguments)
    assert policy.dtype == torch.float32
    assert torch.equal(policy, reference)
    assert torch.allclose(policy, plain.errors(*denoising(plain))[0], rtol=0.03)
    with torch.autocast("cpu", torch.bfloat16):
        policy, reference = half.errors(*arguments)
    assert torch.equal(policy, reference)
    policy.sum().backward()
    assert {weight.grad.dtype for weight in half.policy.parameters() if weight.grad is not None} == {torch.float32}
    noise = torch.randn(1, *half.noise_shape(32, 32), generator=torch.manual_seed(0))
    images = [sample(model, model.condition(lrs(1), ("a",)), noise).images for model in (plain, half)]
    assert torch.allclose(*images, atol=0.05)
