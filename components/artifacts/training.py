"""models/aligned/summary.json: how far a training went, and what its validations gave."""

from typing import ClassVar

from components.artifacts import paths
from components.artifacts.documents import Document


class TrainingSummary(Document):
    """A finished training.

    Attributes:
        reference_digest: of the frozen model that it started from.
        steps: taken in all.
        best_step: of the validation with the highest reward, whose weights are in `best`.
        best_validation_reward: there; the next two before the first step and after the last one. All by the normaliser
            that the reference's candidates fixed.
    """

    path: ClassVar = paths.TRAINING_SUMMARY
    made_by: ClassVar = "train"

    reference_digest: str
    steps: int
    best_step: int
    best_validation_reward: float
    base_validation_reward: float
    last_validation_reward: float
