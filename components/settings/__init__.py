"""params.yaml as frozen models that refuse unknown keys and combinations that cannot work; a file a block."""

from components.settings.backbone import (
    BACKBONE,
    BackboneSettings,
    ColourFix,
    ControlNetSettings,
    FlowControlNetSettings,
    FluxControlNetSettings,
    PixelFlowSettings,
    RestorerFlowSettings,
    SD2ControlNetSettings,
    SD3ControlNetSettings,
    TinyFlowSettings,
)
from components.settings.block import Block, Count, Fraction, Positive
from components.settings.evaluate import EvaluateSettings
from components.settings.generate import GenerateSettings
from components.settings.pair import PairSettings
from components.settings.prepare import PrepareSettings, PromptSettings, SplitSettings
from components.settings.project import Settings
from components.settings.read import WHERE_AND_HOW, load_settings
from components.settings.register import RegisterSettings
from components.settings.report import ReportSettings
from components.settings.run import RunSettings
from components.settings.score import ScoreSettings
from components.settings.train import TrainSettings, ValidationLimit

__all__ = [
    "BACKBONE", "WHERE_AND_HOW", "BackboneSettings", "Block", "ColourFix", "ControlNetSettings", "Count",
    "EvaluateSettings", "FlowControlNetSettings", "FluxControlNetSettings", "Fraction", "GenerateSettings",
    "PairSettings", "PixelFlowSettings", "Positive", "PrepareSettings", "PromptSettings", "RegisterSettings",
    "ReportSettings", "RestorerFlowSettings", "RunSettings", "SD2ControlNetSettings", "SD3ControlNetSettings",
    "ScoreSettings", "Settings", "SplitSettings", "TinyFlowSettings", "TrainSettings", "ValidationLimit",
    "load_settings",
]  # fmt: skip
