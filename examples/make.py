"""Tiny models of the examples' real classes, for a first run: `python -m examples.make one_step models/one_step`.

UNets are random. A random VAE would decode no picture of what it encoded, so it learns that for some seconds.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from examples.residual import ResidualModel, ResidualNetwork

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000}
"""Stable Diffusion's."""


LETTERS = "abcdefghijklmnopqrstuvwxyz,0123456789"
TOKENS = 16


def tiny_vae(levels: int, scaling_factor: float = 0.5, steps: int = 150) -> AutoencoderKL:
    """2^(levels - 1) pixels a latent and 4 channels, trained on smooth pictures with some detail."""
    torch.manual_seed(0)
    model = AutoencoderKL(
        block_out_channels=(16,) * levels,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        norm_num_groups=4,
        latent_channels=4,
        layers_per_block=1,
        mid_block_add_attention=False,
        scaling_factor=scaling_factor,
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    for _ in range(steps):
        coarse = torch.rand(4, 3, 3, 3)
        images = 0.8 * F.interpolate(coarse, (16, 16), mode="bicubic").clamp(0, 1) + 0.2 * torch.rand(4, 3, 16, 16)
        latents = model.encode(images * 2 - 1).latent_dist.mode()
        loss = (model.decode(latents, return_dict=False)[0] / 2 + 0.5 - images).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"tiny VAE: PSNR {-10 * float(loss.detach().log10()):.1f} dB")
    return model.eval()


def tiny_unet(channels: int, **options: Any) -> UNet2DConditionModel:
    """Stable Diffusion's class, with few channels and random weights."""
    torch.manual_seed(1)
    return UNet2DConditionModel(
        in_channels=channels,
        out_channels=4,
        block_out_channels=(16, 32),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=8,
        cross_attention_dim=16,
        **options,
    )


def one_step(folder: Path) -> None:
    """See `examples.one_step`."""
    tiny_vae(2).save_pretrained(folder / "vae")
    tiny_unet(4).save_pretrained(folder / "unet")
    save_file({"text": torch.randn(1, 4, 16)}, folder / "prompt.safetensors")
    (folder / "one_step.json").write_text(json.dumps({"scale": 4, "timestep": 249, **BETAS}, indent=2) + "\n")


def concatenated(folder: Path) -> None:
    """See `examples.concatenated`: the parts of StableDiffusionUpscalePipeline."""
    tiny_vae(3, scaling_factor=0.08333).save_pretrained(folder / "vae")
    tiny_unet(7, num_class_embeds=1000).save_pretrained(folder / "unet")
    tokens = ["<|startoftext|>", "<|endoftext|>", *LETTERS, *(f"{letter}</w>" for letter in LETTERS)]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=TOKENS).save_pretrained(folder / "tokenizer")
    text = CLIPTextConfig(
        vocab_size=len(tokens), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=TOKENS, bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    CLIPTextModel(text).save_pretrained(folder / "text_encoder")
    DDPMScheduler(**BETAS, clip_sample=False).save_pretrained(folder / "scheduler")
    DDPMScheduler(beta_schedule="squaredcos_cap_v2").save_pretrained(folder / "low_res_scheduler")
    names = {
        "vae": "AutoencoderKL",
        "unet": "UNet2DConditionModel",
        "scheduler": "DDPMScheduler",
        "low_res_scheduler": "DDPMScheduler",
    }
    index: dict[str, Any] = {"_class_name": "StableDiffusionUpscalePipeline"}
    index |= {name: ["diffusers", kind] for name, kind in names.items()}
    index |= {"tokenizer": ["transformers", "CLIPTokenizer"], "text_encoder": ["transformers", "CLIPTextModel"]}
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")


def residual(folder: Path) -> None:
    """See `examples.residual`."""
    torch.manual_seed(0)
    config = {"scale": 4, "channels": 16, "blocks": 2}
    ResidualModel(ResidualNetwork(16, 2), config, torch.device("cpu")).save(folder)


MAKE: dict[str, Callable[[Path], None]] = {"one_step": one_step, "concatenated": concatenated, "residual": residual}


def main() -> None:
    """Write one example's model into a new folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("example", choices=sorted(MAKE))
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True)
    MAKE[arguments.example](arguments.folder)


if __name__ == "__main__":
    main()
