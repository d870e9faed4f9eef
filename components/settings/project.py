"""All blocks of params.yaml together, and what must hold between them."""

from typing import Annotated, Any

from pydantic import Field, model_validator

from components.settings.backbone import BackboneSettings, ControlNetSettings
from components.settings.block import Block
from components.settings.builders import BUILDER_KINDS
from components.settings.drift import DriftSettings
from components.settings.evaluate import EvaluateSettings
from components.settings.filters import FILTER_KINDS
from components.settings.gate import GateSettings
from components.settings.generate import GenerateSettings
from components.settings.intake import IntakeSettings
from components.settings.monitor import MonitorSettings
from components.settings.pair import PairSettings
from components.settings.prepare import PrepareSettings
from components.settings.register import RegisterSettings
from components.settings.report import ReportSettings
from components.settings.run import RunSettings
from components.settings.score import ScoreSettings
from components.settings.train import TrainSettings


def giving(column: str) -> str:
    """The way out where a column of the pairs is empty: which parts of this project fill it."""
    parts: dict[str, dict[str, Any]] = {"pair.builder": BUILDER_KINDS, "pair.filters": FILTER_KINDS}
    names = [f"{name} {kind}" for name, kinds in parts.items() for kind in kinds if column in kinds[kind].gives]
    return f"; it is filled by {' or '.join(names)}" if names else "; no part of this project fills it, bring a builder"


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
    def _pairs_fit_the_objective(self) -> "Settings":
        builder, objective = self.pair.builder, self.train.objective
        if not (builder.loaded and objective.loaded and all(part.loaded for part in self.pair.filters)):
            return self
        if builder.losers != objective.losers:
            words = {True: "with losers", False: "without losers"}
            raise ValueError(
                f"pair.builder {builder.kind} makes pairs {words[builder.losers]}, train.objective {objective.kind} is "
                f"for pairs {words[objective.losers]}: of this project's own, both are winners_only or neither is"
            )
        for one in self.pair.filters:
            if one.losers and not builder.losers:
                raise ValueError(
                    f"pair.filters {one.kind} compares a winner with a loser, and pair.builder {builder.kind} has no "
                    "losers: take it out"
                )
        for column in objective.needs:
            if column not in self.pair.gives:
                raise ValueError(
                    f"train.objective {objective.kind} needs the {column} of each pair, which pair.builder "
                    f"{builder.kind} with pair.filters {[part.kind for part in self.pair.filters]} leaves empty"
                    + giving(column)
                )
        return self

    @model_validator(mode="after")
    def _pairs_fit_groups(self) -> "Settings":
        used = self.pair.candidates or self.generate.candidates
        if used > self.generate.candidates:
            raise ValueError(
                f"pair.candidates {used} exceeds generate.candidates {self.generate.candidates}: raise the latter"
            )
        self.pair.builder.check(used)
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
