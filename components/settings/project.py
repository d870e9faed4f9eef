"""All blocks of params.yaml together, and what must hold between them."""

from pathlib import Path

from pydantic import Field, model_validator

from components.errors import BadInput
from components.settings.agreement import check
from components.settings.backbone import AnyBackbone
from components.settings.block import Block
from components.settings.drift import DriftSettings
from components.settings.evaluate import EvaluateSettings
from components.settings.gate import GateSettings
from components.settings.generate import GenerateSettings
from components.settings.intake import IntakeSettings
from components.settings.located import model_problems
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
    backbone: AnyBackbone
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
    def _agree(self) -> "Settings":
        check(self)
        return self

    def check_model(self, root: Path) -> None:
        """Refuse what the model's card contradicts, as far as there is one: scale, steps, noise levels.

        Raises:
            BadInput: with the way out.
        """
        problem = next(model_problems(self, root), None)
        if problem:
            raise BadInput(problem)
