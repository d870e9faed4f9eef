"""Sizes and costs of `sd3_controlnet`: the passes its sampler and its `errors` make, on the meta device."""

from functools import partial
from pathlib import Path
from typing import Any

from diffusers import AutoencoderKL, SD3ControlNetModel, SD3Transformer2DModel
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, T5Config, T5EncoderModel

from components.backbones.controlnet.sd3_parts import freeze_unused
from components.backbones.flow_controlnet import TOKEN
from components.errors import BadInput
from components.plan import networks
from components.plan.architectures import architecture
from components.plan.figures import Figures, Shape
from components.plan.flow import FlowPasses, flow_costs
from components.plan.networks import empty
from components.settings import SD3ControlNetSettings

KINDS = {
    "transformer": SD3Transformer2DModel,
    "vae": AutoencoderKL,
    "text_encoder": CLIPTextConfig,
    "text_encoder_2": CLIPTextConfig,
    "text_encoder_3": T5Config,
}


def measure(settings: SD3ControlNetSettings, root: Path, shape: Shape) -> Figures:
    """Figures at `shape`.

    Raises:
        BadInput: the base or the ControlNet cannot be read; a ControlNet for this family has no size of its own.
    """
    dtype = settings.dtype
    base = architecture(settings.base, root, KINDS)
    config, control_origin = networks.control_config(SD3ControlNetModel, settings.path, settings.base, root)
    if config is None:
        raise BadInput(
            f"backbone.path: {settings.path} has no config.json here, and ControlNets for Stable Diffusion 3 differ in "
            "their number of blocks: give a diffusers folder"
        )
    transformer = networks.build(lambda: SD3Transformer2DModel.from_config(dict(base.configs["transformer"])), dtype)
    control = networks.build(lambda: SD3ControlNetModel.from_config(dict(config)))
    reference = networks.branches(control, settings.lora_rank)
    freeze_unused(control, transformer)
    vae_dtype = networks.vae_dtype(dtype, base.configs["vae"])
    vae = networks.build(lambda: AutoencoderKL.from_config(dict(base.configs["vae"])), vae_dtype)
    texts = []
    for part in ("text_encoder", "text_encoder_2"):
        clip_config = CLIPTextConfig(**base.configs[part])
        clip = networks.build(partial(CLIPTextModelWithProjection, clip_config), dtype)
        words, host = clip.config.max_position_embeddings, settings.text_on_cpu
        texts.append(networks.text_encoder(f"CLIP {part}", clip, words, dtype, host))
    t5 = networks.build(lambda: T5EncoderModel(T5Config(**base.configs["text_encoder_3"])), dtype)
    texts.append(
        networks.text_encoder("T5 text_encoder_3", t5, settings.max_sequence_length, dtype, settings.text_on_cpu)
    )
    latent = networks.latent_side(vae, shape.side, TOKEN)
    vae_costs = networks.vae_costs(vae, latent, vae_dtype)
    words = int(base.configs["text_encoder"]["max_position_embeddings"]) + settings.max_sequence_length
    passes = _passes(transformer, control, reference, latent, words)
    costs = flow_costs(passes, shape, dtype, settings.steps, guided=settings.guidance_scale > 1.0)
    return Figures(
        parts=(
            networks.part("transformer", transformer, dtype),
            *networks.control_parts(control, reference),
            networks.part("VAE", vae, vae_dtype),
            *(size for size, _ in texts),
        ),
        origin=(f"base: {base.origin}", f"ControlNet: {control_origin}"),
        candidate=(*costs.denoise, vae_costs.decode),
        condition=(*(work for _, work in texts), vae_costs.encode),
        row=costs.row,
        recomputed=costs.recomputed,
        sampling_bytes=max(costs.denoise_bytes, vae_costs.decode_bytes),
        training_bytes=costs.training_bytes,
        latent_numbers=vae.config.latent_channels * latent**2,
    )


def _passes(transformer: Any, control: Any, reference: Any, latent: int, words: int) -> FlowPasses:
    def inputs(config: Any, rows: int, dtype: str) -> dict[str, Tensor]:
        return {
            "hidden_states": empty(rows, config.in_channels, latent, latent, dtype=dtype),
            "encoder_hidden_states": empty(rows, words, config.joint_attention_dim, dtype=dtype),
            "pooled_projections": empty(rows, config.pooled_projection_dim, dtype=dtype),
            "timestep": empty(rows),
        }

    def lead(network: Any, rows: int) -> Any:
        image = empty(rows, control.config.in_channels, latent, latent)
        return network(controlnet_cond=image, return_dict=False, **inputs(control.config, rows, "float32"))[0]

    def predict(rows: int, residuals: Any) -> Tensor:
        dtype = str(transformer.dtype).removeprefix("torch.")
        output: Tensor = transformer(
            block_controlnet_hidden_states=[residual.to(transformer.dtype) for residual in residuals],
            return_dict=False,
            **inputs(transformer.config, rows, dtype),
        )[0]
        return output.float()

    return FlowPasses(transformer, control, reference, lead, predict)
