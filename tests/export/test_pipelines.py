"""An exported ControlNet restores in the stock pipeline as it does here, on tiny random models of the real classes."""

from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
import yaml
from torch import Tensor

from components.backbones.controlnet import vae
from components.backbones.flux_controlnet import pack
from components.backbones.restore import sample
from components.export.command import export
from components.settings import BackboneSettings
from components.upscale.upscaler import Upscaler
from tests.backbones import tiny_flux, tiny_sd3
from tests.backbones.sd2_controlnet.rig import change, lrs, noise_as_stock_draws
from tests.backbones.tiny_pipelines import sd_settings, write_sd_base, write_sd_control

CPU = torch.device("cpu")


def exported(settings: BackboneSettings, control: Path, tmp_path: Path) -> tuple[Any, Any]:
    """Our model, its policy moved and saved, and the stock pipeline of the exported folder."""
    start = Upscaler.load(control, settings, CPU)
    change(start.backbone.policy)
    (tmp_path / "policy").mkdir()
    start.backbone.save(tmp_path / "policy")
    upscaler = Upscaler.load(tmp_path / "policy", settings, CPU)
    done = export(upscaler, "tiny", "diffusers", tmp_path / "leave")
    stock = getattr(diffusers, done["pipeline"]).from_pretrained(tmp_path / "leave")
    stock.set_progress_bar_config(disable=True)
    return upscaler.backbone, (stock, done["call"])


def test_sd2(tmp_path: Path) -> None:
    base = write_sd_base(tmp_path / "base")
    control = write_sd_control(tmp_path / "control", base)
    settings = sd_settings(base, control, steps=3, guidance_scale=2.5, conditioning_scale=0.8, lora_rank=0)
    model, (stock, call) = exported(settings, control, tmp_path)
    condition = model.condition(lrs(1), ("a cat",))
    noise = noise_as_stock_draws(model.noise_shape(32, 32), (5,))
    ours = sample(model, condition, noise).images
    generator = torch.Generator().manual_seed(5)
    theirs: Tensor = stock("a cat", image=condition.upsampled, generator=generator, output_type="pt", **call).images
    assert torch.allclose(ours, theirs, atol=1e-4)
    assert not torch.allclose(sample(model, condition, noise, "reference").images * 0, theirs, atol=1e-2)
    front = yaml.safe_load((tmp_path / "leave/README.md").read_text().split("---")[1])
    assert (front["library_name"], front["license"]) == ("diffusers", "other")


@pytest.mark.parametrize("family", ["sd3", "flux"])
def test_flows(tmp_path: Path, family: str) -> None:
    tiny = {"sd3": tiny_sd3, "flux": tiny_flux}[family]
    base, control = tiny.write_base(tmp_path / "base"), tiny.write_control(tmp_path / "control")
    settings = getattr(tiny, f"{family}_settings")(base, control, steps=3, lora_rank=0)
    model, (stock, call) = exported(settings, control, tmp_path)
    condition = model.condition(lrs(1, 8, 8), ("a cat",))
    noise = torch.randn(1, *model.noise_shape(32, 32), generator=torch.manual_seed(2))
    ours = sample(model, condition, noise).images
    picture = vae.pad_to_multiple(condition.upsampled, model.multiple)
    latents = pack(noise) if family == "flux" else noise
    height, width = picture.shape[-2:]
    # The mean of the posterior, as we take it; stock draws a sample.
    distribution = diffusers.models.autoencoders.vae.DiagonalGaussianDistribution
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distribution, "sample", lambda self, generator=None: self.mode())
        theirs: Tensor = stock(
            "a cat",
            control_image=picture * 2 - 1,
            latents=latents,
            height=height,
            width=width,
            output_type="pt",
            **call,
        ).images
    assert torch.allclose(ours, theirs[..., : ours.shape[-2], : ours.shape[-1]], atol=1e-4)
