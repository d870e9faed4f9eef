"""Sizes and costs of `flux_controlnet`: the passes its sampler and its `errors` make, on the meta device."""

from pathlib import Path
from typing import Any

from diffusers import AutoencoderKL, FluxControlNetModel, FluxTransformer2DModel
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

from components.backbones.controlnet.flux_parts import DOUBLE_LAYERS, SINGLE_LAYERS, freeze_unused
from components.backbones.flow_controlnet import TOKEN
from components.plan import networks
from components.plan.architectures import architecture
from components.plan.figures import Figures, Shape
from components.plan.flow import FlowPasses, flow_costs
from components.plan.networks import empty
from components.settings import FluxControlNetSettings

KINDS = {
    "transformer": FluxTransformer2DModel,
    "vae": AutoencoderKL,
    "text_encoder": CLIPTextConfig,
    "text_encoder_2": T5Config,
}


def measure(settings: FluxControlNetSettings, root: Path, shape: Shape) -> Figures:
    """Figures at `shape`.

    Raises:
        BadInput: the base or the ControlNet cannot be read.
    """
    dtype = settings.dtype
    base = architecture(settings.base, root, KINDS)
    network = dict(base.configs["transformer"])
    config, control_origin = networks.control_config(FluxControlNetModel, settings.path, settings.base, root)
    if config is None:
        config = {**network, "num_layers": DOUBLE_LAYERS, "num_single_layers": SINGLE_LAYERS}
    transformer = networks.build(lambda: FluxTransformer2DModel.from_config(network), dtype)
    control = networks.build(lambda: FluxControlNetModel.from_config(dict(config)))
    reference = networks.branches(control, settings.lora_rank)
    freeze_unused(control, transformer)
    vae_dtype = networks.vae_dtype(dtype, base.configs["vae"])
    vae = networks.build(lambda: AutoencoderKL.from_config(dict(base.configs["vae"])), vae_dtype)
    clip = networks.build(lambda: CLIPTextModel(CLIPTextConfig(**base.configs["text_encoder"])), dtype)
    t5 = networks.build(lambda: T5EncoderModel(T5Config(**base.configs["text_encoder_2"])), dtype)
    words, host = clip.config.max_position_embeddings, settings.text_on_cpu
    clip_part, clip_work = networks.text_encoder("CLIP text encoder", clip, words, dtype, host)
    t5_part, t5_work = networks.text_encoder("T5 text encoder", t5, settings.max_sequence_length, dtype, host)
    latent = networks.latent_side(vae, shape.side, TOKEN)
    vae_costs = networks.vae_costs(vae, latent, vae_dtype)
    passes = _passes(transformer, control, reference, (latent // TOKEN) ** 2, settings.max_sequence_length)
    costs = flow_costs(passes, shape, dtype, settings.steps, guided=False)
    return Figures(
        parts=(
            networks.part("transformer", transformer, dtype),
            *networks.control_parts(control, reference),
            networks.part("VAE", vae, vae_dtype),
            clip_part,
            t5_part,
        ),
        origin=(f"base: {base.origin}", f"ControlNet: {control_origin}"),
        candidate=(*costs.denoise, vae_costs.decode),
        condition=(clip_work, t5_work, vae_costs.encode),
        row=costs.row,
        recomputed=costs.recomputed,
        sampling_bytes=max(costs.denoise_bytes, vae_costs.decode_bytes),
        training_bytes=costs.training_bytes,
        latent_numbers=vae.config.latent_channels * latent**2,
    )


def _passes(transformer: Any, control: Any, reference: Any, tokens: int, words: int) -> FlowPasses:
    def inputs(network: Any, rows: int, dtype: str) -> dict[str, Tensor | None]:
        config = network.config
        return {
            "hidden_states": empty(rows, tokens, config.in_channels, dtype=dtype),
            "encoder_hidden_states": empty(rows, words, config.joint_attention_dim, dtype=dtype),
            "pooled_projections": empty(rows, config.pooled_projection_dim, dtype=dtype),
            "timestep": empty(rows),
            "guidance": empty(rows) if config.guidance_embeds else None,
            "img_ids": empty(tokens, 3),
            "txt_ids": empty(words, 3),
        }

    def lead(network: Any, rows: int) -> Any:
        latents = empty(rows, tokens, control.config.in_channels)
        return network(controlnet_cond=latents, return_dict=False, **inputs(control, rows, "float32"))

    def predict(rows: int, residuals: Any) -> Tensor:
        double, single = (
            None if blocks is None else [residual.to(transformer.dtype) for residual in blocks] for blocks in residuals
        )
        dtype = str(transformer.dtype).removeprefix("torch.")
        output: Tensor = transformer(
            controlnet_block_samples=double,
            controlnet_single_block_samples=single,
            return_dict=False,
            **inputs(transformer, rows, dtype),
        )[0]
        return output.float()

    return FlowPasses(transformer, control, reference, lead, predict)
