"""Block `backbone`: one model of settings a family, told apart by `family`."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, TypeAdapter

from components.settings.block import Block, Count, Positive
from components.storage.hub import source

ColourFix = Literal["none", "adain", "wavelet"]
Precision = Literal["float32", "bfloat16", "float16"]


class FamilyBlock(Block):
    """What others ask of a block, whatever its family; what is said here holds for this project's own models."""

    def located(self, root: Path) -> Self:
        """The same with local paths made absolute, relative to `root`; models of the hub stay as they are."""
        raise NotImplementedError

    def stored_scale(self) -> int | None:
        """Output side over LR side, of located settings; None where it cannot be known before the model is loaded."""
        raise NotImplementedError

    @property
    def files(self) -> tuple[Path, ...]:
        """Folders and files that the model is loaded from; models of the hub are among them."""
        raise NotImplementedError

    @property
    def base_model(self) -> Path | None:
        """A frozen model that is not among what training saves."""
        return None

    @property
    def frozen_dtype(self) -> Precision:
        """What the frozen parts are stored in, and most of sampling is computed in."""
        return "float32"

    @property
    def recomputes(self) -> bool:
        """Whether training recomputes activations to save memory."""
        return False

    @property
    def adapter_rank(self) -> int | None:
        """Rank of the adapter that trains, 0 for none; None where the family has none to train."""
        return None

    @property
    def rows_a_call(self) -> int | None:
        """Rows of every sampling call; None for those of the device."""
        return None

    @property
    def largest_lr(self) -> int | None:
        """Most px of an LR image; None for any number."""
        return None

    @property
    def text_on_host(self) -> bool | None:
        """Whether the text encoders are kept in host memory; None where the family cannot."""
        return None


class PixelFlowSettings(FamilyBlock):
    """What every model of this project's own takes; its scale is in its own config.json.

    Attributes:
        steps: Euler steps a candidate.
        gain: factor of the sampled residual; 1 = as the model says, more exaggerates what it adds to its picture.
    """

    path: Path
    steps: Count
    colour_fix: ColourFix
    gain: Positive = 1.0

    def located(self, root: Path) -> Self:
        return self.model_copy(update={"path": root / self.path})

    def stored_scale(self) -> int | None:
        try:
            values: Any = json.loads((self.path / "config.json").read_text())
        except (OSError, ValueError):  # whoever loads the model says what is wrong
            return None
        scale = values.get("scale") if isinstance(values, dict) else None
        return scale if isinstance(scale, int) else None

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.path,)


class TinyFlowSettings(PixelFlowSettings):
    """The smallest model, for tests."""

    family: Literal["tiny_flow"]


class RestorerFlowSettings(PixelFlowSettings):
    """The embedded model: a trainable branch on a frozen restorer.

    Attributes:
        restorer: shipped restorer, or path of an ncnn `.param` file; empty for what the branch was trained on.
        second_look: how strongly the restorer sees a sample's correction when it looks again; 0: it does not look
            again, and all samples have the finest texture of its first picture; None: as the model says.
        second_look_blocks: how many of the restorer's last residual blocks see it, each a cost of its own; 0: all of
            it, for as much as the first look costs; None: as the model says.
    """

    family: Literal["restorer_flow"]
    restorer: str = ""
    second_look: Annotated[float, Field(ge=0.0, le=10.0)] | None = None
    second_look_blocks: Annotated[int, Field(ge=0)] | None = None

    def located(self, root: Path) -> Self:
        restorer = str(root / self.restorer) if self.restorer.endswith(".param") else self.restorer
        return super().located(root).model_copy(update={"restorer": restorer})

    @property
    def files(self) -> tuple[Path, ...]:
        own = Path(self.restorer)
        return (self.path, own, own.with_suffix(".bin")) if self.restorer.endswith(".param") else (self.path,)


class ControlNetSettings(FamilyBlock):
    """What every ControlNet on a frozen text-to-image model takes.

    Attributes:
        path: the ControlNet: diffusers folder, `hf://owner/name@revision`, or a bare `.safetensors` state dict.
        base: the text-to-image pipeline: diffusers folder or `hf://owner/name@revision`.
        scale: output side over LR side.
        conditioning_scale: factor of the ControlNet's residuals.
        dtype: of the frozen parts; the trainable branch is float32, see train.precision.
        lora_rank: 0 trains the whole control branch, more trains an adapter of that rank on it.
        gradient_checkpointing: recompute activations in the backward pass: less memory, about a third more time.
        compile: torch.compile the networks; minutes at the start, then faster. Needs a compiler.
        channels_last: channels innermost in memory; faster on GPUs with tensor cores.
        sample_block: rows of every sampling call, filled up with copies: memory against speed; the result's last bits
            depend on it.
        max_lr_pixels: larger LR images are refused before any work, px.
        vae_tiling: encode and decode in tiles: bounds the memory of large images.
    """

    path: Path
    base: Path
    scale: Annotated[int, Field(ge=1, le=16)] = 4
    steps: Annotated[int, Field(ge=1, le=1000)]
    conditioning_scale: Positive = 1.0
    colour_fix: ColourFix
    dtype: Precision = "float32"
    lora_rank: Annotated[int, Field(ge=0)] = 0
    gradient_checkpointing: bool = False
    compile: bool = False
    channels_last: bool = False
    sample_block: Count = 4
    max_lr_pixels: Count = 1_048_576
    vae_tiling: bool = False

    def located(self, root: Path) -> Self:
        return self.model_copy(update={"path": source(self.path, root), "base": source(self.base, root)})

    def stored_scale(self) -> int | None:
        return self.scale

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.path, self.base)

    @property
    def base_model(self) -> Path | None:
        return self.base

    @property
    def frozen_dtype(self) -> Precision:
        return self.dtype

    @property
    def recomputes(self) -> bool:
        return self.gradient_checkpointing

    @property
    def adapter_rank(self) -> int | None:
        return self.lora_rank

    @property
    def rows_a_call(self) -> int | None:
        return self.sample_block

    @property
    def largest_lr(self) -> int | None:
        return self.max_lr_pixels


class SD2ControlNetSettings(ControlNetSettings):
    """ControlNet on Stable Diffusion 1.x or 2.x; the DDPM sampler draws noise at every step.

    Attributes:
        guidance_scale: of classifier-free guidance; 1 = off, which halves the cost.
        negative_prompt: what guidance leads away from.
    """

    family: Literal["sd2_controlnet"]
    guidance_scale: Annotated[float, Field(ge=1.0)]
    negative_prompt: str = ""


class FlowControlNetSettings(ControlNetSettings):
    """ControlNet on a flow transformer, whose texts T5-XXL encodes.

    Attributes:
        text_on_cpu: keep and run the text encoders in host memory: 9 GiB less on a GPU, and seconds more for each new
            prompt; a fixed one is encoded once.
    """

    text_on_cpu: bool = False

    @property
    def text_on_host(self) -> bool | None:
        return self.text_on_cpu


class FluxControlNetSettings(FlowControlNetSettings):
    """ControlNet on FLUX.1; its numbers of double and single blocks are in its own config.json.

    Attributes:
        guidance: value of the guidance embedding; there is no second, negative pass.
        max_sequence_length: tokens of the T5 prompt; longer prompts are cut.
    """

    family: Literal["flux_controlnet"]
    guidance: Annotated[float, Field(ge=0.0)]
    max_sequence_length: Annotated[int, Field(ge=1, le=512)] = 512


class SD3ControlNetSettings(FlowControlNetSettings):
    """ControlNet on Stable Diffusion 3 or 3.5.

    Attributes:
        guidance_scale: of classifier-free guidance; 1 = off, which halves the cost.
        negative_prompt: what guidance leads away from.
        max_sequence_length: tokens of the T5 prompt; longer prompts are cut.
    """

    family: Literal["sd3_controlnet"]
    guidance_scale: Annotated[float, Field(ge=1.0)]
    negative_prompt: str = ""
    max_sequence_length: Annotated[int, Field(ge=1, le=512)] = 256


BackboneSettings = (
    TinyFlowSettings | RestorerFlowSettings | SD2ControlNetSettings | FluxControlNetSettings | SD3ControlNetSettings
)
BACKBONE: TypeAdapter[BackboneSettings] = TypeAdapter(Annotated[BackboneSettings, Field(discriminator="family")])
"""Reads a backbone block on its own."""
