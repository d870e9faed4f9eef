"""What a judge is asked, and what its answer says."""

from collections.abc import Mapping
from dataclasses import dataclass

OVERALL = "overall"
"""The verdict on everything, beside the dimensions."""
RATING = "rating"
"""What a judge that rates one candidate is asked."""

FIRST, SECOND, TIE = 1, 2, 0

Verdicts = Mapping[str, int | None]
"""By dimension: FIRST, SECOND or TIE; None where the answer does not say."""


@dataclass(frozen=True)
class Question:
    """A text for the model.

    Attributes:
        text: shown after the pictures.
        dimensions: what its answer is about.
    """

    text: str
    dimensions: tuple[str, ...]
