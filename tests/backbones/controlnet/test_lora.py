"""An adapter on a small network: it starts as nothing, merges into what it computes, and can be switched off."""

from pathlib import Path

import pytest
import torch
from torch import nn

from components.backbones.controlnet import lora
from components.errors import BadInput


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(64, 5))


def adapted(rank: int = 2) -> nn.Sequential:
    model = network()
    lora.add_adapter(model, rank)
    for name, weight in model.named_parameters():
        if ".lora_B" in name:
            nn.init.normal_(weight, std=0.1)
    return model


IMAGES = torch.rand(2, 3, 4, 4, generator=torch.manual_seed(1))


def test_a_fresh_adapter_changes_nothing_and_is_the_same_everywhere() -> None:
    first, second = network(), network()
    lora.add_adapter(first, 2)
    torch.manual_seed(99)
    state = torch.random.get_rng_state()
    lora.add_adapter(second, 2)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(first(IMAGES), network()(IMAGES))
    for (name, one), other in zip(first.named_parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other), name
        assert one.requires_grad == (".lora_" in name)
    assert lora.has_adapter(first)
    assert not lora.has_adapter(network())


def test_merged_weights_compute_what_the_adapter_does() -> None:
    model, plain = adapted(), network()
    assert not torch.allclose(model(IMAGES), plain(IMAGES), atol=1e-2)
    with lora.adapter_off(model):
        assert torch.equal(model(IMAGES), plain(IMAGES))
    plain.load_state_dict(lora.branch_state(model, adapted=True))
    assert torch.allclose(model(IMAGES), plain(IMAGES), atol=1e-5)
    original = lora.branch_state(model, adapted=False)
    assert all(torch.equal(original[name], weight) for name, weight in network().state_dict().items())


def test_switching_off_between_forward_and_backward_loses_no_gradient() -> None:
    gradients = []
    for switched in (False, True):
        model = adapted()
        output = model(IMAGES).square().sum()
        if switched:
            with lora.adapter_off(model), torch.no_grad():
                model(IMAGES)
        output.backward()
        gradients.append([weight.grad for weight in model.parameters() if weight.requires_grad])
    for plain, switched in zip(*gradients, strict=True):
        assert torch.equal(plain, switched)
        assert plain.abs().sum() > 0


def test_an_adapter_alone_goes_to_disk_and_back(tmp_path: Path) -> None:
    model, again = adapted(), network()
    lora.save_adapter(model, tmp_path)
    lora.add_adapter(again, 2)
    lora.load_adapter(again, tmp_path)
    assert torch.equal(model(IMAGES), again(IMAGES))
    content = (tmp_path / lora.ADAPTER).read_bytes()
    (tmp_path / lora.ADAPTER).write_bytes(content[: len(content) // 2])
    with pytest.raises(BadInput, match=r"is damaged .*restore it"):
        lora.load_adapter(again, tmp_path)
