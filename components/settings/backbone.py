"""Block `backbone`: one model of settings a family, told apart by `family`."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, PlainValidator, SerializeAsAny, TypeAdapter

from components.errors import BadInput
from components.settings.block import Block, Count, Positive
from components.settings.families import Family, is_own
from components.settings.part import MissingLibrary, load_row
from components.storage.hub import source

ColourFix = Literal["none", "adain", "wavelet"]
Precision = Literal["float32", "bfloat16", "float16"]


class FamilyBlock(Block):
    """What others ask of a block, whatever its family; what is said here holds for this project's own models.

    Attributes:
        family: name of the family, or `package.module:NAME` of a row that the user wrote.
        path: folder of the model.
        steps: of the sampler, a candidate.
        colour_fix: what gives a restoration the colours of its LR.
    """

    family: str
    path: Path
    steps: Count
    colour_fix: ColourFix

    def located(self, root: Path) -> Self:
        """The same with local paths made absolute, relative to `root`; models of the hub stay as they are."""
        return self.model_copy(update={"path": source(self.path, root)})

    def stored_scale(self) -> int | None:
        """Output side over LR side, of located settings; None where it cannot be known before the model is loaded."""
        return None

    @property
    def loaded(self) -> bool:
        """False for what stands in for a family whose libraries this place lacks, as a flow's image lacks torch."""
        return True

    @property
    def files(self) -> tuple[Path, ...]:
        """Folders and files that the model is loaded from; models of the hub are among them."""
        return (self.path,)

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
        gain: factor of the sampled residual; 1 = as the model says, more exaggerates what it adds to its picture.
    """

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

    base: Path
    scale: Annotated[int, Field(ge=1, le=16)] = 4
    steps: Annotated[int, Field(ge=1, le=1000)]
    conditioning_scale: Positive = 1.0
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


class UnloadedFamily(FamilyBlock):
    """Stands in for a family of the user's own where a library that its file imports is not installed.

    Its own settings are checked where it is used.
    """

    model_config = ConfigDict(extra="allow")

    @property
    def loaded(self) -> bool:
        return False


BackboneSettings = FamilyBlock
"""Of any family, this project's or the user's."""
KnownSettings = (
    TinyFlowSettings | RestorerFlowSettings | SD2ControlNetSettings | FluxControlNetSettings | SD3ControlNetSettings
)
"""Of this project's families."""


_KNOWN: TypeAdapter[KnownSettings] = TypeAdapter(Annotated[KnownSettings, Field(discriminator="family")])


def _of_any_family(value: Any) -> FamilyBlock:
    """Settings of a block whose family the user may have written."""
    if isinstance(value, FamilyBlock):
        return value
    name = value.get("family") if isinstance(value, Mapping) else None
    return _own_class(name).model_validate(value) if is_own(name) else _KNOWN.validate_python(value)


def _own_class(name: Any) -> type[FamilyBlock]:
    """Settings' class of a row that the user wrote.

    Raises:
        ValueError: there is no such module, or what is named is no such row.
    """
    try:
        row = load_row(name)
    except MissingLibrary:
        return UnloadedFamily
    found = row.settings if isinstance(row, Family) else None
    if found is None or not issubclass(found, FamilyBlock):
        raise ValueError(f"family {name} must be a Family whose settings are a subclass of FamilyBlock")
    return found


AnyBackbone = Annotated[SerializeAsAny[FamilyBlock], PlainValidator(_of_any_family)]
BACKBONE: TypeAdapter[FamilyBlock] = TypeAdapter(AnyBackbone)
"""Reads a backbone block on its own."""


def stored_backbone(values: Mapping[str, Any]) -> FamilyBlock:
    """Settings that were stored with a model.

    A stored name never makes this process import anything: whoever may write it would choose what runs. So the file of
    a user's own family is taken only where params.yaml, or the process itself, has imported it already.

    Raises:
        BadInput: the model is of a family whose file was not imported.
        ValidationError: a value cannot be used.
    """
    family = values.get("family")
    if is_own(family) and str(family).partition(":")[0] not in sys.modules:
        raise BadInput(
            f"this model is of the family {family}, which is none of this project's: set backbone.family to it in "
            f"params.yaml, or import {str(family).partition(':')[0]} before the model is loaded"
        )
    return BACKBONE.validate_python(dict(values))
