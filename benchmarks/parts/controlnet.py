"""Candidates a second of a ControlNet on Stable Diffusion: batched over seeds, against stock diffusers a call a seed.

The networks are of Stable Diffusion 2's own classes and shape, each side of every width divided by five, with random
weights: speed does not depend on them. The peer is `StableDiffusionControlNetPipeline` as its page shows it: every call
encodes the prompts, prepares the control image and makes one picture. What is shared a call is the more of its work the
smaller the networks are, so the ratio is no promise for the real ones.
"""

import copy
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    DDPMScheduler,
    StableDiffusionControlNetPipeline,
    UNet2DConditionModel,
)
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from benchmarks.parts import model
from benchmarks.timing import Comparison, Contender, compare, interleaved
from components.backbones.controlnet.clip_text import ClipText
from components.backbones.samplers.ddpm import NoiseLevels
from components.backbones.sd2_controlnet import SD2ControlNet
from components.backbones.upsampling import upsample
from components.generate.sampling import sample_candidates
from components.settings import SD2ControlNetSettings

TARGET = 1.5
LR_ID, PROMPT, NEGATIVE = "benchmark", "a cat on grass", "dotted, noise, blur, lowres, smooth"
WIDTHS = (64, 128, 256, 256)
TEXT = 256
LETTERS = "abcdefghijklmnopqrstuvwxyz,"
SCHEDULER: dict[str, Any] = {
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "clip_sample": False,
    "steps_offset": 1,
}


class Parts:
    """The networks, float32, in torch's default memory layout."""

    def __init__(self, widths: tuple[int, ...] = WIDTHS) -> None:
        torch.manual_seed(0)
        self.unet = UNet2DConditionModel(
            block_out_channels=widths,
            attention_head_dim=tuple(width // 64 or 1 for width in widths),
            cross_attention_dim=TEXT,
            use_linear_projection=True,
            norm_num_groups=16,
        ).eval()
        self.control = ControlNetModel.from_unet(self.unet).eval()
        self.vae = AutoencoderKL(
            block_out_channels=(32, 64, 128, 128),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
            norm_num_groups=16,
        ).eval()
        self.text = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=2 + 2 * len(LETTERS),
                hidden_size=TEXT,
                intermediate_size=4 * TEXT,
                num_hidden_layers=8,
                num_attention_heads=4,
                bos_token_id=0,
                eos_token_id=1,
                pad_token_id=1,
            )
        ).eval()
        names = ["<|startoftext|>", "<|endoftext|>", *LETTERS, *(f"{letter}</w>" for letter in LETTERS)]
        self.tokenizer = CLIPTokenizer(
            vocab={name: at for at, name in enumerate(names)}, merges=[], model_max_length=77
        )

    @property
    def parameters(self) -> int:
        """Of all networks."""
        networks: list[nn.Module] = [self.unet, self.control, self.vae, self.text]
        return sum(weight.numel() for network in networks for weight in network.parameters())


def backbone(parts: Parts, steps: int, block: int) -> SD2ControlNet:
    """Ours, as the preset c-sd2 samples but for float32; it changes the layout of `parts`."""
    settings = SD2ControlNetSettings(
        family="sd2_controlnet",
        path=Path("unused"),
        base=Path("unused"),
        steps=steps,
        guidance_scale=3.5,
        negative_prompt=NEGATIVE,
        colour_fix="none",
        channels_last=True,
        sample_block=block,
    )
    levels = NoiseLevels(SCHEDULER, "benchmark")
    text = ClipText(parts.tokenizer, parts.text)
    return SD2ControlNet(parts.unet, parts.vae, text, parts.control, levels, settings, torch.device("cpu"))


def pipeline(parts: Parts) -> Any:
    """The stock pipeline of the same networks."""
    made = StableDiffusionControlNetPipeline(
        vae=parts.vae,
        text_encoder=parts.text,
        tokenizer=parts.tokenizer,
        unet=parts.unet,
        controlnet=parts.control,
        scheduler=DDPMScheduler(**SCHEDULER),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    made.set_progress_bar_config(disable=True)
    return made


def measure(
    root: Path, count: int, peer_count: int, steps: int, rounds: int, widths: tuple[int, ...] = WIDTHS
) -> list[Comparison]:
    """`count` candidates of 128 px; the peers make `peer_count` of them, which suffices for a rate."""
    stock = Parts(widths)
    own = copy.deepcopy(stock)
    ours = backbone(own, steps, block=4)
    _, lr, _ = model.group(root, 1)
    upsampled = upsample(lr, ours.scale, lr.shape[-2] * lr.shape[-1])

    def calls(parts: Parts) -> Any:
        made = pipeline(parts)

        def run() -> None:
            for seed in range(peer_count):
                made(
                    PROMPT,
                    image=upsampled,
                    negative_prompt=NEGATIVE,
                    num_inference_steps=steps,
                    guidance_scale=3.5,
                    generator=torch.Generator().manual_seed(seed),
                    output_type="pt",
                )

        return run

    contender = Contender(
        "batched over seeds",
        count,
        lambda: sample_candidates(ours, lr, PROMPT, LR_ID, range(count), count, "none"),
    )
    peers = [
        Contender("stock pipeline call a seed", peer_count, calls(stock)),
        Contender("the same, in our layout", peer_count, calls(own)),
    ]
    laps = interleaved([contender, *peers], rounds)
    name = f"SD2-shaped, {stock.parameters / 1e6:.0f} M"
    targets = (TARGET, None)
    return [
        compare(name, "candidates/s", laps, contender, peer, target)
        for peer, target in zip(peers, targets, strict=True)
    ]
