"""params.yaml as frozen models that refuse unknown keys and combinations that cannot work."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from components.artifacts.cache import CacheFolder
from components.artifacts.store import Store
from components.drift.drift_settings import DriftSettings
from components.errors import BadInput
from components.intake.intake_settings import IntakeSettings
from components.monitor.monitor_settings import MonitorSettings
from components.prepare.degradation_settings import DegradationSettings
from components.register.gate_settings import GateSettings

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
Count = Annotated[int, Field(ge=1)]


class Block(BaseModel):
    """One block of params.yaml."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class RunSettings(Block):
    device: str = "auto"
    cache: Path = Path("cache")
    shared_cache: str = ""
    threads: Annotated[int, Field(ge=0)] = 0

    def cache_folder(self, root: Path) -> CacheFolder:
        """The cache of the project in `root`.

        Raises:
            BadInput: shared_cache is no store's URL.
        """
        return CacheFolder(root / self.cache, Store(self.shared_cache) if self.shared_cache else None)


class SplitSettings(Block):
    align: Fraction
    validation: Fraction
    test: Fraction

    @model_validator(mode="after")
    def _sums_to_one(self) -> "SplitSettings":
        total = self.align + self.validation + self.test
        if abs(total - 1.0) > 1e-9:
            raise ValueError(f"align + validation + test is {total:g}, it must be 1")
        return self


class PromptSettings(Block):
    """Where the text of a text-to-image backbone comes from.

    Attributes:
        kind: `fixed`, `text` for all; `column` of a table beside the photos; `captioner`, a model's words about the LR.
        text: the fixed prompt; for a captioner what it is given beside the picture.
        manifest: name of the table in each source folder, CSV or parquet.
        column: of the prompts; column `file` names the photo.
        model: the captioner: folder in transformers' format, or hub id.
        max_tokens: longest caption.
    """

    kind: Literal["fixed", "column", "captioner"] = "fixed"
    text: str = ""
    manifest: str = "manifest.csv"
    column: str = "prompt"
    model: Path | None = None
    max_tokens: Count = 48

    @model_validator(mode="after")
    def _consistent(self) -> "PromptSettings":
        if self.kind == "captioner" and self.model is None:
            raise ValueError("kind captioner needs model: a folder in transformers' format, or a hub id")
        if self.kind != "captioner" and self.model is not None:
            raise ValueError(f"model is set, but kind is {self.kind}: set kind to captioner, or leave model out")
        if self.kind == "column" and self.text:
            raise ValueError("text is set, but kind is column: prompts would come from both; leave one out")
        if Path(self.manifest).suffix not in (".csv", ".parquet"):
            raise ValueError(f"manifest {self.manifest} is neither .csv nor .parquet")
        return self


class PrepareSettings(Block):
    sources: list[Path]
    align_sources: list[Path] = []
    lr_sources: list[Path] = []
    align_lr_sources: list[Path] = []
    crop: Count
    scale: Count
    crops_per_photo: Count
    seed: int
    split: SplitSettings
    min_side: Count
    max_pixels: Count
    lrs_per_shard: Count
    prompt: PromptSettings = PromptSettings()
    degradation: DegradationSettings

    @model_validator(mode="after")
    def _crop_divides(self) -> "PrepareSettings":
        if self.crop % self.scale:
            raise ValueError(f"crop {self.crop} is not a multiple of scale {self.scale}: the LR would not fit its HR")
        if not self.sources and not self.lr_sources:
            raise ValueError("sources and lr_sources are both empty: name at least one folder of photos")
        return self


ColourFix = Literal["none", "adain", "wavelet"]


class PixelFlowSettings(Block):
    """What every model of this project's own takes; its scale is in its own config.json.

    Attributes:
        steps: Euler steps a candidate.
        gain: factor of the sampled residual; 1 = as the model says, more exaggerates what it adds to its picture.
    """

    path: Path
    steps: Count
    colour_fix: ColourFix
    gain: Positive = 1.0


class TinyFlowSettings(PixelFlowSettings):
    """The smallest model, for tests."""

    family: Literal["tiny_flow"]


class RestorerFlowSettings(PixelFlowSettings):
    """The embedded model: a trainable branch on a frozen restorer.

    Attributes:
        restorer: shipped restorer, or path of an ncnn `.param` file; empty for what the branch was trained on.
    """

    family: Literal["restorer_flow"]
    restorer: str = ""


class ControlNetSettings(Block):
    """What every ControlNet on a frozen text-to-image model takes.

    Attributes:
        path: the ControlNet: diffusers folder, hub id, or a bare `.safetensors` state dict.
        base: the text-to-image pipeline: diffusers folder or hub id.
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
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    lora_rank: Annotated[int, Field(ge=0)] = 0
    gradient_checkpointing: bool = False
    compile: bool = False
    channels_last: bool = False
    sample_block: Count = 4
    max_lr_pixels: Count = 1_048_576
    vae_tiling: bool = False


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


class GenerateSettings(Block):
    candidates: Annotated[int, Field(ge=2, le=64)]
    batch: Count
    shards: Count
    splits: list[Literal["align", "validation", "test"]]


class ScoreSettings(Block):
    fr: list[str]
    nr: list[str]
    held_out: list[str]
    batch: Count

    @model_validator(mode="after")
    def _disjoint(self) -> "ScoreSettings":
        if not self.fr and not self.nr:
            raise ValueError("fr and nr are both empty: the reward needs at least one metric")
        twice = sorted(name for name in self.all_metrics if self.all_metrics.count(name) > 1)
        if twice:
            raise ValueError(
                f"{sorted(set(twice))} named more than once: a metric is either rewarded (fr, nr) or held out"
            )
        return self

    @property
    def all_metrics(self) -> list[str]:
        """Rewarded metrics first, then the held-out ones."""
        return [*self.fr, *self.nr, *self.held_out]


class PairSettings(Block):
    builder: Literal["dp2o", "best_vs_worst", "random", "winners_only"]
    top: Count
    intra_weights: bool
    inter_weights: bool
    candidates: Annotated[int, Field(ge=0, le=64)] = 0
    seed: int


ValidationLimit = Literal["psnr", "ssim", "colour_shift", "grid", "border", "clipping"]
"""What a checkpoint is held to: two fidelities that may fall and four guards that may rise, against the base."""


class TrainSettings(Block):
    objective: Literal["dp2o", "winners_only"]
    beta: Positive
    anchor: Annotated[float, Field(ge=0.0)]
    noise_shared_by: Literal["group", "pair"]
    t_distribution: Literal["uniform", "logit_normal", "sampler"]
    t_min: Fraction
    t_max: Fraction
    groups_per_step: Count
    micro_batch: Count
    steps: Count
    learning_rate: Positive
    warmup_steps: Annotated[int, Field(ge=0)]
    weight_decay: Annotated[float, Field(ge=0.0)]
    max_gradient_norm: Positive
    ema: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    precision: Literal["no", "bf16", "fp16"]
    condition_cache_mb: Annotated[int, Field(ge=0)]
    checkpoint_every: Count
    validate_every: Count
    validation_images: Count
    validation_seeds: Count
    limits: dict[ValidationLimit, Positive] = {}
    seed: int

    @model_validator(mode="after")
    def _consistent(self) -> "TrainSettings":
        if self.t_min >= self.t_max:
            raise ValueError(f"t_min {self.t_min} must be below t_max {self.t_max}")
        if self.groups_per_step % self.micro_batch:
            raise ValueError(
                f"groups_per_step {self.groups_per_step} is not a multiple of micro_batch {self.micro_batch}: "
                "gradient accumulation needs whole parts"
            )
        return self


class EvaluateSettings(Block):
    seeds: Count
    bootstrap: Annotated[int, Field(ge=100)]
    confidence: Annotated[float, Field(gt=0.5, lt=1.0)]
    controls: list[Literal["gain", "steps"]] = []
    control_images: Count = 12
    peers: list[Literal["bicubic", "realesrgan", "realesrgan_fixed", "realesr_animevideo"]]
    seed: int


class RegisterSettings(Block):
    experiment: str
    model_name: str
    tracking_uri: str
    webhook: str = ""


class ReportSettings(Block):
    groups_shown: Count
    sliders_shown: Count


class Settings(Block):
    """All of params.yaml."""

    run: RunSettings
    prepare: PrepareSettings
    backbone: Annotated[BackboneSettings, Field(discriminator="family")]
    generate: GenerateSettings
    score: ScoreSettings
    pair: PairSettings
    train: TrainSettings
    evaluate: EvaluateSettings
    register_: RegisterSettings = Field(alias="register")  # `register` is a method of pydantic's metaclass
    report: ReportSettings
    gate: GateSettings = GateSettings()
    intake: IntakeSettings = IntakeSettings()
    drift: DriftSettings = DriftSettings()
    monitor: MonitorSettings = MonitorSettings()

    @model_validator(mode="after")
    def _pairs_fit_groups(self) -> "Settings":
        used = self.pair.candidates or self.generate.candidates
        if used > self.generate.candidates:
            raise ValueError(
                f"pair.candidates {used} exceeds generate.candidates {self.generate.candidates}: raise the latter"
            )
        if 2 * self.pair.top > used:
            raise ValueError(
                f"pair.top {self.pair.top} winners and as many losers do not fit into {used} candidates: "
                f"set pair.top to at most {used // 2} or raise generate.candidates"
            )
        if (self.pair.builder == "winners_only") != (self.train.objective == "winners_only"):
            raise ValueError(
                f"pair.builder {self.pair.builder} with train.objective {self.train.objective}: "
                "winners_only has no losers to compare with, so both are winners_only or neither is"
            )
        if isinstance(self.backbone, ControlNetSettings) and self.backbone.scale != self.prepare.scale:
            raise ValueError(
                f"backbone.scale {self.backbone.scale} differs from prepare.scale {self.prepare.scale}: candidates "
                "would not have the size of their HR"
            )
        if self.train.t_distribution == "sampler" and isinstance(self.backbone, ControlNetSettings):
            raise ValueError(
                f"train.t_distribution sampler is for this project's own models, backbone.family is "
                f"{self.backbone.family}: take uniform (SD2) or logit_normal (FLUX, SD3)"
            )
        if self.evaluate.controls and isinstance(self.backbone, ControlNetSettings):
            raise ValueError(
                f"evaluate.controls {self.evaluate.controls} are of this project's own models, backbone.family is "
                f"{self.backbone.family}: set it to []"
            )
        if self.gate.controls and isinstance(self.backbone, ControlNetSettings):
            raise ValueError(
                f"gate.controls {self.gate.controls} are of this project's own models, backbone.family is "
                f"{self.backbone.family}: set it to {{}}"
            )
        if "align" not in self.generate.splits:
            raise ValueError("generate.splits lacks align: training has no candidates without it")
        return self


WHERE_AND_HOW = ("run.*", "generate.batch", "score.batch", "train.micro_batch", "train.condition_cache_mb")
"""Settings that never change a result but for rounding, so that a command line may override them."""


def load_settings(path: Path = Path("params.yaml"), overrides: Sequence[str] = ()) -> Settings:
    """Read and check params.yaml.

    Args:
        overrides: `block.key=value` of those settings that say where and how, never what.

    Raises:
        BadInput: the file is missing or not YAML, or a value is unknown, ill-typed or cannot work; all are listed.
    """
    if not path.is_file():
        raise BadInput(f"{path} does not exist; run from the project's root or give --params")
    try:
        values: Any = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise BadInput(f"{path} is not valid YAML: {error}") from error
    for override in overrides:
        _override(values, override)
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        problems = [f"  {_place(item['loc'])}: {item['msg']}" for item in error.errors()]
        raise BadInput(f"{path} has {len(problems)} problem(s):\n" + "\n".join(problems)) from error


def _override(values: Any, override: str) -> None:
    """Apply one `block.key=value`."""
    name, equals, text = override.partition("=")
    block, _, key = name.partition(".")
    if not equals or not any(fnmatchcase(name, allowed) for allowed in WHERE_AND_HOW):
        raise BadInput(
            f"--set {override}: only settings that never change a result can be set there "
            f"({', '.join(WHERE_AND_HOW)}), as block.key=value; change params.yaml for the others"
        )
    if not isinstance(values, dict) or not isinstance(values.get(block), dict):
        raise BadInput(f"--set {override}: params.yaml has no block {block}")
    values[block][key] = yaml.safe_load(text)


def _place(loc: tuple[int | str, ...]) -> str:
    """Where in params.yaml an error is: pydantic's own mention of the family after `backbone` is no key there."""
    keys = [str(key) for key in loc]
    if len(keys) > 2 and keys[0] == "backbone":
        del keys[1]
    return ".".join(keys) or "params"
