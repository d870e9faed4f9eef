"""VisualQuality-R1 (arXiv 2505.14460): a rating of one candidate between 1 and 5.

The question is the paper's own (its Table 1), as another one would make another metric; without thinking its end is
that of the authors' instructions for using it as a reward. Published figures are means of sampled answers; here it
is decoded greedily, so that it says the same twice.
"""

from components.score.judges.questions import RATING, Question
from components.score.judges.reading import answered, number
from components.settings import VisualQualityR1Settings

LOWEST, HIGHEST = 1.0, 5.0

_QUESTION = (
    "You are doing the image quality assessment task. Here is the question: What is your overall rating on the quality "
    "of this picture? The rating should be a float between 1 and 5, rounded to two decimal places, with 1 representing "
    "very poor quality and 5 representing excellent quality. "
)
_THINKING = (
    "First output the thinking process in <think> </think> tags and then output the final answer with only one score "
    "in <answer> </answer> tags."
)
_AT_ONCE = "Please only output the final answer with only one score in <answer> </answer> tags."


def questions(settings: VisualQualityR1Settings) -> tuple[Question, ...]:
    """The one question."""
    return (Question(_QUESTION + (_THINKING if settings.thinking else _AT_ONCE), (RATING,)),)


def read(answer: str) -> float | None:
    """The rating; None where there is none between 1 and 5."""
    rating = number(answered(answer))
    return rating if rating is not None and LOWEST <= rating <= HIGHEST else None
