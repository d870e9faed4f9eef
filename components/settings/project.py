"""All blocks of params.yaml together, and what must hold between them."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from components.errors import BadInput
from components.settings.backbone import BackboneSettings
from components.settings.block import Block
from components.settings.builders import BUILDER_KINDS
from components.settings.drift import DriftSettings
from components.settings.evaluate import EvaluateSettings
from components.settings.families import FAMILIES
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
        given = {"fidelity": ("score.fr", self.score.fr), "realism": ("score.nr", self.score.nr)}
        for side in self.pair.builder.sides:
            name, metrics = given[side]
            if not metrics:
                raise ValueError(
                    f"pair.builder {self.pair.builder.kind} asks for {side}, and {name} is empty: name a metric there, "
                    "or change the builder's judge and scorer"
                )
        if "align" not in self.generate.splits:
            raise ValueError("generate.splits lacks align: training has no candidates without it")
        return self

    @model_validator(mode="after")
    def _within_the_familys_limits(self) -> "Settings":
        family, limits = self.backbone.family, FAMILIES[self.backbone.family].limits
        if self.train.t_distribution == "sampler" and not limits.sampler_levels:
            raise ValueError(
                f"train.t_distribution sampler is for this project's own models, backbone.family is {family}: "
                "take uniform (SD2) or logit_normal (FLUX, SD3)"
            )
        given = (("evaluate.controls", self.evaluate.controls, "[]"), ("gate.controls", self.gate.controls, "{}"))
        for place, controls, none in given:
            if set(controls) - limits.controls:
                raise ValueError(
                    f"{place} {controls} are of this project's own models, backbone.family is {family}: "
                    f"set it to {none}"
                )
        return self

    def check_scale(self, root: Path) -> None:
        """Refuse a prepare.scale that is not the model's, as far as the model's is known without loading it.

        Raises:
            BadInput: they differ: LR and HR would not be of the sizes that the model takes and gives.
        """
        located = self.backbone.located(root)
        scale = located.stored_scale()
        if scale not in (None, self.prepare.scale):
            raise BadInput(
                f"prepare.scale is {self.prepare.scale}, and the model of backbone.path {self.backbone.path} enlarges "
                f"{scale} times: set prepare.scale to {scale}, or take a model of that scale"
            )
