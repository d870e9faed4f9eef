"""All blocks of params.yaml together, and what must hold between them."""

from typing import Annotated

from pydantic import Field, model_validator

from components.settings.backbone import BackboneSettings, ControlNetSettings
from components.settings.block import Block
from components.settings.drift import DriftSettings
from components.settings.evaluate import EvaluateSettings
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
