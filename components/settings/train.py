"""Block `train`: objective, optimiser, and what a checkpoint is held to."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from components.settings.block import Block, Count, Fraction, Positive

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
