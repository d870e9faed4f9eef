"""What is planned is what the backbones do: their own `sample` and `errors` are counted on tiny models and compared."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from components.backbones.base import Backbone, Condition
from components.backbones.flux_controlnet import FluxControlNet
from components.backbones.restore import sample
from components.backbones.restorer_flow import RestorerFlow, RestorerFlowConfig, SecondLook
from components.backbones.sd2_controlnet import SD2ControlNet
from components.backbones.sd3_controlnet import SD3ControlNet
from components.backbones.tiny_flow import TinyFlow
from components.errors import BadInput
from components.plan import flux, pixel_flow, sd2, sd3
from components.plan.counting import META, flop
from components.plan.figures import Figures, Shape, total
from components.settings import RestorerFlowSettings, TinyFlowSettings
from tests.backbones import tiny_flux, tiny_sd3
from tests.backbones.tiny_pipelines import sd_settings, write_bare_control, write_sd_base, write_sd_control
from tests.made import ncnn_trunk

CPU = torch.device("cpu")
LR = 16
"""LR side, px; the tiny families' output is 64 px."""
SHAPE = Shape(side=4 * LR, sampling_rows=2, training_rows=2, precision=None)

Family = Callable[..., tuple[Any, Any, Figures]]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("families")


@pytest.fixture(scope="module")
def sd2_family(root: Path) -> Family:
    base = write_sd_base(root / "sd2")
    control = write_sd_control(root / "sd2-control", base)

    def made(**changes: Any) -> tuple[Any, Any, Figures]:
        settings = sd_settings(base, control, **changes)
        return SD2ControlNet.load(control, settings, CPU), settings, measured(sd2.measure, settings, root)

    return made


@pytest.fixture(scope="module")
def flux_family(root: Path) -> Family:
    base = tiny_flux.write_base(root / "flux")
    control = tiny_flux.write_control(root / "flux-control")

    def made(**changes: Any) -> tuple[Any, Any, Figures]:
        settings = tiny_flux.flux_settings(base, control, **changes)
        return FluxControlNet.load(control, settings, CPU), settings, measured(flux.measure, settings, root)

    return made


@pytest.fixture(scope="module")
def sd3_family(root: Path) -> Family:
    base = tiny_sd3.write_base(root / "sd3")
    control = tiny_sd3.write_control(root / "sd3-control")

    def made(**changes: Any) -> tuple[Any, Any, Figures]:
        settings = tiny_sd3.sd3_settings(base, control, **changes)
        return SD3ControlNet.load(control, settings, CPU), settings, measured(sd3.measure, settings, root)

    return made


@pytest.fixture(scope="module")
def tiny_family(root: Path, tiny_folder: Path) -> Family:
    def made() -> tuple[Any, Any, Figures]:
        settings = TinyFlowSettings(family="tiny_flow", path=tiny_folder, steps=2, colour_fix="none")
        return TinyFlow.load(tiny_folder, 2, CPU), settings, measured(pixel_flow.measure_tiny, settings, root)

    return made


@pytest.fixture(scope="module")
def restorer_family(root: Path) -> Family:
    folder = root / "restorer"
    folder.mkdir()
    config = RestorerFlowConfig(channels=(8, 12), blocks=(1, 1), embedding=16, restorer=str(ncnn_trunk(root)))
    RestorerFlow.new(config, 2, CPU).save(folder)

    def made() -> tuple[Any, Any, Figures]:
        settings = RestorerFlowSettings(
            family="restorer_flow", path=folder, steps=2, colour_fix="none", second_look=1.0, second_look_blocks=1
        )
        return (
            RestorerFlow.load(folder, 2, CPU, look=SecondLook(1.0, 1)),
            settings,
            measured(pixel_flow.measure_restorer, settings, root),
        )

    return made


@cache
def measured(measure: Callable[..., Figures], settings: Any, root: Path) -> Figures:
    """Figures do not change, so tests share them."""
    return measure(settings, root, SHAPE)


FAMILIES = ["sd2_family", "flux_family", "sd3_family", "tiny_family", "restorer_family"]


def counted(run: Callable[[], object]) -> int:
    """FLOP on the CPU, whose own fused attention torch does not count."""
    counter = FlopCounterMode(display=False)
    with sdpa_kernel(SDPBackend.MATH), counter:
        run()
    return int(counter.get_total_flops())


def trained(backbone: Any) -> int:
    return sum(weight.numel() for weight in backbone.policy.parameters() if weight.requires_grad)


@pytest.mark.parametrize("family", FAMILIES)
def test_sampling_costs_what_is_planned(family: str, request: pytest.FixtureRequest) -> None:
    backbone, _, figures = request.getfixturevalue(family)()
    condition = backbone.condition(torch.rand(1, 3, LR, LR), ("a cat",))
    noise = torch.randn(1, *backbone.noise_shape(4 * LR, 4 * LR))
    sample(backbone, condition, noise, "reference")  # what is encoded once, such as the negative prompt, is kept
    assert counted(lambda: sample(backbone, condition, noise, "reference")) == total(figures.candidate)


@pytest.mark.parametrize("family", FAMILIES)
def test_parameters_and_latents_are_the_backbones(family: str, request: pytest.FixtureRequest) -> None:
    backbone, _, figures = request.getfixturevalue(family)()
    assert figures.trained == trained(backbone)
    if backbone.stores_latents:
        shape = backbone.latent_shape(4 * LR, 4 * LR)
        assert figures.latent_numbers == torch.Size(shape).numel()


@pytest.fixture
def on_meta(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Any], Any]]:
    """Moves a loaded backbone to the meta device, which has no autocast even to switch off."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())

    def moved(backbone: Any) -> Any:
        parts = [getattr(backbone, name, None) for name in ("policy", "reference", "transformer", "vae")]
        if isinstance(backbone, SD2ControlNet):
            parts.append(backbone.unet.unet)
        for part in parts:
            if isinstance(part, nn.Module):
                part.to(META)
        backbone.device = META
        return backbone

    return moved


def training_flop(backbone: Backbone, condition: Condition) -> int:
    """Of `errors` and the policy's backward pass, a row."""
    shape = backbone.latent_shape(4 * LR, 4 * LR)
    latents, noise, t = (torch.empty(size, device=META) for size in ((2, *shape), (2, *shape), (2,)))
    both = condition.repeat(2).to(META)

    def run() -> None:
        policy, _ = backbone.errors(latents, both, t, noise)
        torch.autograd.backward(policy.sum())

    return flop(run) // 2


@pytest.mark.parametrize("family", FAMILIES)
def test_training_costs_what_is_planned(
    family: str, request: pytest.FixtureRequest, on_meta: Callable[[Any], Any]
) -> None:
    backbone, _, figures = request.getfixturevalue(family)()
    condition = backbone.condition(torch.rand(1, 3, LR, LR), ("a cat",))
    assert training_flop(on_meta(backbone), condition) == total(figures.row)


@pytest.mark.parametrize("family", ["sd2_family", "flux_family"])
def test_an_adapter_trains_little_and_needs_no_copy(
    family: str, request: pytest.FixtureRequest, on_meta: Callable[[Any], Any]
) -> None:
    backbone, _, figures = request.getfixturevalue(family)(lora_rank=2)
    assert figures.trained == trained(backbone) > 0
    assert [part.name for part in figures.parts if "ControlNet" in part.name] == ["ControlNet with adapter"]
    condition = backbone.condition(torch.rand(1, 3, LR, LR), ("a cat",))
    assert training_flop(on_meta(backbone), condition) == total(figures.row)


def test_without_guidance_sampling_costs_half(sd2_family: Family) -> None:
    _, _, guided = sd2_family()
    _, _, unguided = sd2_family(guidance_scale=1.0)
    assert [work.times for work in guided.candidate] == [6, 6, 1]
    assert [work.times for work in unguided.candidate] == [3, 3, 1]
    assert unguided.sampling_bytes <= guided.sampling_bytes


def test_lower_precision_is_smaller_and_costs_the_same(sd2_family: Family, root: Path) -> None:
    _, settings, single = sd2_family()
    half = sd2.measure(settings.model_copy(update={"dtype": "float16"}), root, SHAPE)
    assert [part.dtype for part in half.parts] == ["float16", "float32", "float32", "float32", "float16"]
    assert half.parts[0].bytes * 2 == single.parts[0].bytes
    assert (half.candidate, half.row) == (single.candidate, single.row)


def test_a_bare_state_dict_is_planned_as_the_base_makes_it(sd2_family: Family, root: Path) -> None:
    _, settings, folder = sd2_family()
    bare = write_bare_control(root / "bare.safetensors", settings.base)
    planned = sd2.measure(settings.model_copy(update={"path": bare}), root, SHAPE)
    assert planned.parts == folder.parts
    assert "bare state dict" in planned.origin[1]


def test_sd3_needs_a_controlnets_configuration(sd3_family: Family, root: Path) -> None:
    _, settings, _ = sd3_family()
    with pytest.raises(BadInput, match=r"backbone\.path: .*absent has no config\.json here"):
        sd3.measure(settings.model_copy(update={"path": root / "absent"}), root, SHAPE)


def test_checkpointing_trades_memory_for_arithmetic(flux_family: Family) -> None:
    _, _, figures = flux_family()
    assert figures.training_bytes[True] < figures.training_bytes[False]
    assert total(figures.recomputed) < total(figures.row)
