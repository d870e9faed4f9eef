"""Settings of the judges, vision-language models that are asked; the judges are components/score/judges/."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PlainValidator, SerializeAsAny

from components.artifacts.judged import Side, column
from components.settings.block import Block, Count
from components.settings.part import Part, choose, kinds_of
from components.storage.hub import source

DIMENSIONS: Mapping[str, str] = {
    "fidelity": "agreement with the low-resolution input: shapes, text, colours and textures that the input supports",
    "realism": "realism of detail: whether edges and textures look like those of a real photograph",
    "artefacts": "freedom from artefacts: no ringing, blocks, false patterns, noise or smears",
}
"""What super-resolution is judged by unless the settings say otherwise; ours."""


class JudgeSettings(Part):
    """What all have.

    Attributes:
        side: of the reward of pairs that the judge's column is on; null: it is measured, and not rewarded.
    """

    side: Side | None = "realism"

    @property
    def column(self) -> str:
        """Its column of data/scores.parquet."""
        return column(self.kind, self.side)

    @property
    def model_path(self) -> Path | None:
        """The model's folder or hf:// name; None for a judge without one."""
        return None

    def calls(self, candidates: int) -> int:
        """Calls of the model for a group of so many candidates."""
        return candidates


class ModelSettings(Block):
    """A transformers image-text-to-text model.

    Attributes:
        model: folder in transformers' format, or hf://owner/name@revision.
        dtype: of its weights.
        max_tokens: longest answer.
    """

    model: Path
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    max_tokens: Count = 512

    @property
    def model_path(self) -> Path:
        """See `JudgeSettings`."""
        return self.model

    def located(self, root: Path) -> Path:
        """The model's place, relative to `root`."""
        return source(self.model, root)


class PairwiseSettings(JudgeSettings):
    """A judge that compares two candidates, in both orders.

    Attributes:
        opponents: how many others each candidate meets; all of them where the group has no more.
        dimensions: what is asked, by name; the overall verdict is asked beside them.
        seed: of who meets whom.
    """

    opponents: Count = 4
    dimensions: Annotated[dict[str, str], Field(min_length=1)] = dict(DIMENSIONS)
    seed: int = 0

    @property
    def questions(self) -> int:
        """Calls of the model for one comparison in one order."""
        return 1

    def comparisons(self, candidates: int) -> int:
        """Pairs of candidates that meet."""
        return candidates * min(self.opponents, candidates - 1) // 2

    def calls(self, candidates: int) -> int:
        return 2 * self.questions * self.comparisons(candidates)


class UnifiedRewardFlexSettings(ModelSettings, PairwiseSettings):
    """UnifiedReward-Flex: one answer has the winner of each dimension and the overall one."""

    kind: Literal["unified_reward_flex"] = "unified_reward_flex"
    max_tokens: Count = 2048


class UnifiedRewardSettings(ModelSettings, PairwiseSettings):
    """UnifiedReward: one question a dimension, and one for all."""

    kind: Literal["unified_reward"] = "unified_reward"

    @property
    def questions(self) -> int:
        return len(self.dimensions) + 1


class VisualQualityR1Settings(ModelSettings, JudgeSettings):
    """VisualQuality-R1: rates one candidate, 1 to 5.

    Attributes:
        thinking: whether it writes its reasoning first, as in the paper's tables; a hundred times the cost.
    """

    kind: Literal["visualquality_r1"] = "visualquality_r1"
    thinking: bool = False


JUDGE_KINDS: dict[str, type[JudgeSettings]] = kinds_of(
    UnifiedRewardFlexSettings, UnifiedRewardSettings, VisualQualityR1Settings
)
AnyJudge = Annotated[SerializeAsAny[JudgeSettings], PlainValidator(choose("judge", JUDGE_KINDS, JudgeSettings))]
