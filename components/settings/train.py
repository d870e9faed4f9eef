"""Block `train`: objective, optimiser, and what a checkpoint is held to."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from components.settings.block import Block, Count, Fraction, Positive
from components.settings.objectives import OBJECTIVE_KINDS, AnyObjective, ObjectiveSettings
from components.settings.part import fold
from components.settings.sources import AnySource, PairsSource

SHORT_TRAIN = ("beta",)
"""Keys of the block that are short for settings of its objective."""

ValidationLimit = Literal["psnr", "ssim", "colour_shift", "grid", "border", "clipping"]
"""What a checkpoint is held to: two fidelities that may fall and four guards that may rise, against the base."""

LOSER_WORDS = "blurry, over-smoothed, hallucinated texture, noise"
"""What losers' prompts say beside the LR's unless the settings do; ours."""


class TrainSettings(Block):
    """Objective, noise, optimiser and validation.

    Attributes:
        source: what a step is made of: pairs, or LR images whose restorations are rewarded (`bird_sr`).
        rounds: trainings of `steps` steps, one after the other; from the second on candidates are sampled from the
            policy of the one before, scored and paired.
        objective: `objective: dp2o` beside `beta: 300` is short for `objective: {kind: dp2o, beta: 300}`.
        margin_cap: a pair whose z is above it gives no gradient; 0 = no cap.
        safeguard: mu of Diffusion-SDPO: losers' gradients are held back so that a step keeps so much of the winner's
            own progress; 0 = off.
        noise: fresh draws epsilon anew in each step; own takes the noise that each candidate was sampled from.
        pairs_per_group: of each group so many pairs, drawn anew in each step; 0 = all. Losses keep their mean.
        noise_draws: antithetic gives two pairs of a group epsilon and -epsilon, at one t.
        t_draws: each noise level by itself, or spread over the draws of a step.
        t_proposal: how often each of as many equally likely parts of the levels is drawn; losses are weighted so that
            their mean stays. Empty = as often.
        winner_stop: training ends where the winners' error of the last steps lies by more than this share above the
            reference's; 0 = it never does.
        dial_dropout: share of groups, with pair.dial, whose place on it the policy is not told.
        dual_captions: words that go after the prompt of losers, for policy and reference alike; `true` takes
            LOSER_WORDS, empty: winners and losers have one prompt.
        held_out_groups: at least so many groups, whole photos of them, are not trained on; validation measures the
            share of their pairs that the policy prefers.
    """

    source: AnySource = PairsSource()
    rounds: Count = 1
    objective: AnyObjective
    anchor: Annotated[float, Field(ge=0.0)]
    margin_cap: Annotated[float, Field(ge=0.0)] = 0.0
    safeguard: Fraction = 0.0
    winner_stop: Annotated[float, Field(ge=0.0)] = 0.0
    dial_dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.1
    dual_captions: str = Field(default="", exclude_if=lambda words: not words)
    held_out_groups: Annotated[int, Field(ge=0)] = 0
    noise: Literal["fresh", "own"] = "fresh"
    noise_shared_by: Literal["group", "pair"]
    pairs_per_group: Annotated[int, Field(ge=0)] = 0
    noise_draws: Literal["independent", "antithetic"] = "independent"
    t_distribution: Literal["uniform", "logit_normal", "sampler"]
    t_draws: Literal["independent", "stratified", "antithetic"] = "independent"
    t_proposal: tuple[Positive, ...] = ()
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

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, values: Any) -> Any:
        return fold(values, "objective", SHORT_TRAIN, OBJECTIVE_KINDS, ObjectiveSettings)

    @field_validator("dual_captions", mode="before")
    @classmethod
    def _default_words(cls, words: Any) -> Any:
        return {True: LOSER_WORDS, False: ""}.get(words, words) if isinstance(words, bool) else words

    @model_validator(mode="after")
    def _consistent(self) -> "TrainSettings":
        if self.t_min >= self.t_max:
            raise ValueError(f"t_min {self.t_min} must be below t_max {self.t_max}")
        if self.held_out_groups and not self.objective.losers:
            raise ValueError(
                f"held_out_groups {self.held_out_groups} asks which of a pair the policy prefers, and objective "
                f"{self.objective.kind} is for winners alone: set it to 0"
            )
        if self.dual_captions and not self.objective.losers:
            raise ValueError(
                f"dual_captions {self.dual_captions!r} are of losers, and objective {self.objective.kind} is for "
                'winners alone: set it to ""'
            )
        if self.safeguard and not self.objective.losers:
            raise ValueError(
                f"safeguard {self.safeguard} holds losers' gradients back, and objective {self.objective.kind} is for "
                "winners alone: set it to 0"
            )
        if self.noise_shared_by == "group" and (self.pairs_per_group or self.noise_draws != "independent"):
            raise ValueError(
                "pairs_per_group and noise_draws are of pairs that each have a noise of their own: set noise_shared_by "
                "to pair, or pairs_per_group to 0 and noise_draws to independent"
            )
        if self.noise == "own" and self.noise_draws != "independent":
            raise ValueError("noise own draws no noise that noise_draws antithetic could turn: set one of them back")
        if self.groups_per_step % self.micro_batch:
            raise ValueError(
                f"groups_per_step {self.groups_per_step} is not a multiple of micro_batch {self.micro_batch}: "
                "gradient accumulation needs whole parts"
            )
        return self
