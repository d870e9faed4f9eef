"""Vision-language models that are asked which of two restorations is better, or how good one is: a file each."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from components.score.judges import unified_reward, unified_reward_flex, visualquality_r1
from components.score.judges.model import Ask, load_model, model_digest
from components.score.judges.questions import Question, Verdicts
from components.settings import (
    JudgeSettings,
    UnifiedRewardFlexSettings,
    UnifiedRewardSettings,
    VisualQualityR1Settings,
)


@dataclass(frozen=True, kw_only=True)
class Judge:
    """A row: its settings, and functions of them.

    Attributes:
        questions: what it is asked.
        load: who answers; called once a process, when something has to be asked.
        digest: of everything but pictures and questions that determines an answer.
    """

    settings: type[JudgeSettings]
    questions: Callable[[Any], tuple[Question, ...]]
    load: Callable[[Any, Path, torch.device], Ask] = load_model
    digest: Callable[[Any, Path], str] = model_digest


@dataclass(frozen=True, kw_only=True)
class Comparing(Judge):
    """Is shown the LR and two candidates, in both orders; `read` says whom the answer prefers."""

    read: Callable[[Question, str], Verdicts]


@dataclass(frozen=True, kw_only=True)
class Rating(Judge):
    """Is shown one candidate; `read` gives the number in its answer, None where there is none."""

    read: Callable[[str], float | None]


JUDGES: dict[str, Judge] = {
    "unified_reward_flex": Comparing(
        settings=UnifiedRewardFlexSettings, questions=unified_reward_flex.questions, read=unified_reward_flex.read
    ),
    "unified_reward": Comparing(
        settings=UnifiedRewardSettings, questions=unified_reward.questions, read=unified_reward.read
    ),
    "visualquality_r1": Rating(
        settings=VisualQualityR1Settings, questions=visualquality_r1.questions, read=visualquality_r1.read
    ),
}
