"""UnifiedReward-Flex (arXiv 2602.02380): one JSON answer with the winner of each category and the overall one.

The answer's keys, and scores of the two images that add up to 10, are those of the authors' script for ranking images.
There the categories are agreement with a text, quality and aesthetics; that they are the dimensions of
super-resolution here, and that the LR is shown, is ours.
"""

import json
from typing import Any

from components.score.judges.questions import OVERALL, Question, Verdicts
from components.score.judges.reading import higher, named, number
from components.settings import UnifiedRewardFlexSettings

_FORM = {
    "prompt": "<what the input shows>",
    "categories": [
        {
            "name": "<category>",
            "dims": [{"name": "<aspect>", "reason_1": "", "reason_2": "", "score_1": "0-10", "score_2": "0-10"}],
            "cat_reason": "<why>",
            "cat_winner": "Image 1/2",
        }
    ],
    "reason": "<why>",
    "winner": "Image 1/2",
}


def questions(settings: UnifiedRewardFlexSettings) -> tuple[Question, ...]:
    """One, for all dimensions and the overall winner."""
    categories = "\n".join(f"- {name}: {about}." for name, about in settings.dimensions.items())
    text = (
        "Image 1 and Image 2 are two restorations of the low-resolution input above. Compare them as an expert in "
        f"image quality, in these categories, called by these names:\n{categories}\n"
        "In each category choose three to five aspects in which the two differ. Score both images in each aspect, with "
        "visible evidence, so that the two scores add up to 10. Then name the winner of the category, and at the end "
        "the winner over all categories.\n"
        f"Answer with a single JSON object of this form:\n```json\n{json.dumps(_FORM, indent=1)}\n```"
    )
    return (Question(text, (*settings.dimensions, OVERALL)),)


def read(question: Question, answer: str) -> Verdicts:
    """Winners by dimension; a category belongs to the dimension whose name its own contains."""
    found = _json(answer)
    verdicts: dict[str, int | None] = dict.fromkeys(question.dimensions)
    if found is None:
        return verdicts
    verdicts[OVERALL] = named(str(found.get("winner", "")))
    categories = found.get("categories")
    for category in categories if isinstance(categories, list) else []:
        if isinstance(category, dict):
            name = str(category.get("name", "")).casefold()
            for dimension in question.dimensions:
                if dimension != OVERALL and dimension.casefold() in name:
                    verdicts[dimension] = _winner(category)
    return verdicts


def _winner(category: dict[str, Any]) -> int | None:
    """The named winner; where none is named, who has more points."""
    winner = named(str(category.get("cat_winner", "")))
    if winner is not None:
        return winner
    aspects = category.get("dims")
    points = [
        (number(aspect.get("score_1")), number(aspect.get("score_2")))
        for aspect in (aspects if isinstance(aspects, list) else [])
        if isinstance(aspect, dict)
    ]
    known = [(first, second) for first, second in points if first is not None and second is not None]
    return higher(sum(first for first, _ in known), sum(second for _, second in known)) if known else None


def _json(answer: str) -> dict[str, Any] | None:
    """The first JSON object of a text, in a code block or not."""
    start = answer.find("{")
    if start < 0:
        return None
    try:
        found, _ = json.JSONDecoder().raw_decode(answer, start)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
