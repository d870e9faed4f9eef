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
from components.settings.builders import (
    BUILDER_KINDS,
    BestVsWorstBuilder,
    BuilderSettings,
    DP2OBuilder,
    ParetoBuilder,
    RandomBuilder,
    RankThenSiftBuilder,
    WinnersOnlyBuilder,
)
from components.settings.evaluate import EvaluateSettings
from components.settings.filters import FILTER_KINDS, FilterSettings, StrengthFilter, TransportFilter
from components.settings.generate import GenerateSettings
from components.settings.mixture import Mixed, MixtureSettings, Power, Strength
from components.settings.objectives import (
    OBJECTIVE_KINDS,
    CaPOObjective,
    DMPOObjective,
    DP2OObjective,
    IPOObjective,
    MarginObjective,
    NoisyObjective,
    ObjectiveSettings,
    PreferenceSettings,
    SoftObjective,
    WinnersOnlyObjective,
)
from components.settings.pair import PairSettings
from components.settings.part import Part, row_of
from components.settings.prepare import PairFolders, PrepareSettings, PromptSettings, SplitSettings
from components.settings.project import Settings
from components.settings.read import WHERE_AND_HOW, load_settings
from components.settings.register import RegisterSettings
from components.settings.report import ReportSettings
from components.settings.run import RunSettings
from components.settings.scalarisers import (
    SCALARISER_KINDS,
    MinMaxScalariser,
    PooledScalariser,
    ScalariserSettings,
    SidesSettings,
    WinRateScalariser,
)
from components.settings.score import ScoreSettings
from components.settings.sources import BirdSource, NFTSource, PairsSource, PRDPSource, RolledSource
from components.settings.train import TrainSettings, ValidationLimit

__all__ = [
    "BACKBONE",
    "BUILDER_KINDS",
    "FILTER_KINDS",
    "OBJECTIVE_KINDS",
    "SCALARISER_KINDS",
    "WHERE_AND_HOW",
    "BackboneSettings",
    "BestVsWorstBuilder",
    "BirdSource",
    "Block",
    "BuilderSettings",
    "CaPOObjective",
    "ColourFix",
    "ControlNetSettings",
    "Count",
    "DMPOObjective",
    "DP2OBuilder",
    "DP2OObjective",
    "EvaluateSettings",
    "FilterSettings",
    "FlowControlNetSettings",
    "FluxControlNetSettings",
    "Fraction",
    "GenerateSettings",
    "IPOObjective",
    "MarginObjective",
    "MinMaxScalariser",
    "Mixed",
    "MixtureSettings",
    "NFTSource",
    "NoisyObjective",
    "ObjectiveSettings",
    "PRDPSource",
    "PairFolders",
    "PairSettings",
    "PairsSource",
    "ParetoBuilder",
    "Part",
    "PixelFlowSettings",
    "PooledScalariser",
    "Positive",
    "Power",
    "PreferenceSettings",
    "PrepareSettings",
    "PromptSettings",
    "RandomBuilder",
    "RankThenSiftBuilder",
    "RegisterSettings",
    "ReportSettings",
    "RestorerFlowSettings",
    "RolledSource",
    "RunSettings",
    "SD2ControlNetSettings",
    "SD3ControlNetSettings",
    "ScalariserSettings",
    "ScoreSettings",
    "Settings",
    "SidesSettings",
    "SoftObjective",
    "SplitSettings",
    "Strength",
    "StrengthFilter",
    "TinyFlowSettings",
    "TrainSettings",
    "TransportFilter",
    "ValidationLimit",
    "WinRateScalariser",
    "WinnersOnlyBuilder",
    "WinnersOnlyObjective",
    "load_settings",
    "row_of",
]  # fmt: skip
