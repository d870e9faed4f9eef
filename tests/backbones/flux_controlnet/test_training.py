"""Errors and gradients of C-FLUX; compilation, precision and memory in training."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FluxControlNetModel
from torch._dynamo.utils import counters
from torch._inductor import config as inductor_config

from components.backbones import flow_controlnet
from components.backbones.flux_controlnet import FluxControlNet, pack, position_ids
from components.backbones.restore import sample
from tests.backbones.flux_controlnet.rig import shake, training_batch
from tests.backbones.tiny_flux import flux_settings, write_base, write_control

CPU = torch.device("cpu")


def test_error_is_the_mean_squared_error_of_the_velocity(load: Callable[..., FluxControlNet], control: Path) -> None:
    """x_t = (1 - sigma) x0 + sigma eps, target eps - x0, from the real classes' own forward passes."""
    model = load()
    latents, condition, t, noise = training_batch(model)
    stock = FluxControlNetModel.from_pretrained(control)
    sigma = t.view(2, 1, 1)
    x0, epsilon = pack(latents), pack(noise)
    inputs = {
        "hidden_states": (1 - sigma) * x0 + sigma * epsilon,
        "timestep": t,
        "guidance": torch.full((2,), 2.5),
        "pooled_projections": condition.encodings["pooled"],
        "encoder_hidden_states": condition.encodings["prompt"],
        "img_ids": position_ids(*latents.shape[-2:], CPU),
        "txt_ids": torch.zeros(8, 3),
        "return_dict": False,
    }
    with torch.no_grad():
        double, _ = stock(controlnet_cond=pack(condition.encodings["control"]), **inputs)
        velocity = model.transformer(controlnet_block_samples=double, **inputs)[0]
    expected = (velocity - (epsilon - x0)).square().mean(dim=(1, 2))
    assert torch.allclose(model.error(latents, condition, t, noise, "policy"), expected, rtol=1e-5)


@pytest.mark.parametrize("lora_rank", [0, 2])
def test_both_errors_at_once_are_the_two_errors(load: Callable[..., FluxControlNet], lora_rank: int) -> None:
    model = load(lora_rank=lora_rank)
    batch = training_batch(model)
    policy, reference = model.errors(*batch)
    assert torch.equal(policy, reference)  # before training, so that the first loss is ln 2
    shake(model)
    policy, again = model.errors(*batch)
    assert torch.equal(again, reference)
    assert (policy - reference).abs().min() > 1e-4
    assert torch.equal(policy, model.error(*batch, "policy"))
    assert torch.equal(again, model.error(*batch, "reference"))
    assert policy.dtype == torch.float32
    assert policy.shape == (2,)


@pytest.mark.parametrize("changes", [{}, {"lora_rank": 2}, {"gradient_checkpointing": True}])
@pytest.mark.parametrize(("double", "single"), [(2, 0), (3, 0), (3, 1)])
def test_gradients_reach_the_control_branch_and_nothing_else(
    load: Callable[..., FluxControlNet], tmp_path: Path, changes: dict[str, Any], double: int, single: int
) -> None:
    """Of three control blocks for four in the transformer the third leads nowhere, unless single blocks read it."""
    model = load(write_control(tmp_path, num_layers=double, num_single_layers=single), **changes)
    shake(model)  # an adapter's first factor has no gradient while the second is zero
    trainable = [parameter.requires_grad for parameter in model.policy.parameters()]
    policy, reference = model.errors(*training_batch(model))
    assert not reference.requires_grad
    assert trainable == [parameter.requires_grad for parameter in model.policy.parameters()]
    policy.sum().backward()
    for name, parameter in model.policy.named_parameters():
        trains = parameter.grad is not None
        unused = any(part in name for part in ("blocks.1.ff_context", "blocks.1.attn.to_add_out", "blocks.2."))
        if double == 2 or not single:
            assert trains == (not unused and ("lora_" in name or not changes.get("lora_rank"))), name
    frozen = [model.transformer, model.vae, model.text.text_encoder, model.text.text_encoder_2]
    if model.reference is not None:
        frozen.append(model.reference)
    assert not [name for name, p in model.policy.named_parameters() if p.requires_grad and p.grad is None]
    assert all(parameter.grad is None for network in frozen for parameter in network.parameters())


def test_checkpointing_changes_no_gradient(load: Callable[..., FluxControlNet]) -> None:
    gradients = []
    for checkpointing in (False, True):
        model = load(gradient_checkpointing=checkpointing)
        policy, _ = model.errors(*training_batch(model))
        policy.sum().backward()
        gradients.append([p.grad for p in model.policy.parameters() if p.grad is not None])
    assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(*gradients, strict=True))


def test_compiled_blocks_predict_the_same(load: Callable[..., FluxControlNet], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_controlnet, "COMPILE_BACKEND", "eager")  # traced like any other, without a compiler
    expected = load().errors(*training_batch(load()))
    model = load(compile=True, gradient_checkpointing=True)
    policy, reference = model.errors(*training_batch(model))
    assert torch.allclose(policy, expected[0], rtol=1e-5)
    assert torch.allclose(reference, expected[1], rtol=1e-5)
    policy.sum().backward()
    assert model.policy.x_embedder.weight.grad is not None
    assert list(model.policy.state_dict()) == list(load().policy.state_dict())


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler: install g++ to run this")
def test_what_inductor_compiles_predicts_the_same_and_has_the_same_gradients(tmp_path: Path) -> None:
    """torch's own compiler on the CPU, with recomputed activations: one double block each, a minute of compiling."""
    base = write_base(tmp_path / "base", num_layers=1, num_single_layers=0)
    control = write_control(tmp_path / "control", num_layers=1)
    plain, compiled = (
        FluxControlNet.load(control, flux_settings(base, control, compile=on, gradient_checkpointing=on), CPU)
        for on in (False, True)
    )
    found = []
    with inductor_config.patch({"cpp.simdlen": 1}):  # plain loops: compiled in half of the time
        for model in (plain, compiled):
            shake(model)
            policy, reference = model.errors(*training_batch(model))
            (policy * torch.tensor([1.0, -2.0])).sum().backward()
            gradients = {name: weight.grad for name, weight in model.policy.named_parameters()}
            found.append((policy.detach(), reference, gradients))
    assert counters["inductor"], "nothing was compiled"
    torch.compiler.reset()
    (policy, reference, gradients), (other_policy, other_reference, other_gradients) = found
    assert torch.allclose(policy, other_policy, rtol=1e-5)
    assert torch.allclose(reference, other_reference, rtol=1e-5)
    assert not torch.allclose(policy, reference, rtol=1e-3)
    for name, gradient in gradients.items():
        other = other_gradients[name]
        assert (gradient is None) == (other is None), name
        assert gradient is None or other is None or torch.allclose(gradient, other, rtol=1e-3, atol=1e-6), name


@pytest.mark.parametrize("lora_rank", [0, 2])
def test_every_gradient_that_several_processes_wait_for_comes(
    load: Callable[..., FluxControlNet], tmp_path: Path, lora_rank: int
) -> None:
    """DistributedDataParallel refuses the second step if a parameter that trains had no gradient in the first."""
    model = load(write_control(tmp_path / "control", num_layers=3), lora_rank=lora_rank, gradient_checkpointing=True)
    batch = training_batch(model)
    alone = model.error(*batch, "policy")
    torch.distributed.init_process_group(
        "gloo", store=torch.distributed.FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1
    )
    try:
        model.policy = torch.nn.parallel.DistributedDataParallel(model.policy)
        for _ in range(2):
            policy, _ = model.errors(*batch)
            policy.sum().backward()
    finally:
        torch.distributed.destroy_process_group()
    assert torch.equal(policy, alone)


def test_the_frozen_parts_are_in_memory_once(load: Callable[..., FluxControlNet]) -> None:
    model = load()
    of_control = sum(p.numel() for p in model.policy.parameters())
    assert model.reference is not None
    assert of_control == sum(p.numel() for p in model.reference.parameters())
    shared = {p.data_ptr() for p in model.transformer.parameters()}
    assert not shared & {p.data_ptr() for p in model.policy.parameters()}
    adapted = load(lora_rank=1)
    assert adapted.reference is None
    trained = sum(p.numel() for p in adapted.policy.parameters() if p.requires_grad)
    assert 0 < trained < of_control / 5


def test_frozen_parts_in_bfloat16_leave_the_policy_in_float32(load: Callable[..., FluxControlNet]) -> None:
    exact, rounded = load(), load(dtype="bfloat16")
    assert {p.dtype for p in rounded.policy.parameters()} == {torch.float32}
    assert {p.dtype for p in rounded.transformer.parameters()} == {torch.bfloat16}
    batch = training_batch(rounded)
    expected = exact.error(*training_batch(exact), "policy")
    for autocast in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            policy, reference = rounded.errors(*batch)
        assert policy.dtype == torch.float32
        assert torch.equal(policy, reference)
        assert torch.allclose(policy, expected, rtol=0.05)
    policy.sum().backward()
    assert {p.grad.dtype for p in rounded.policy.parameters() if p.grad is not None} == {torch.float32}
    images = sample(rounded, batch[1], batch[3]).images
    assert images.dtype == torch.float32
    assert (images - sample(exact, training_batch(exact)[1], batch[3]).images).abs().mean() < 0.02
