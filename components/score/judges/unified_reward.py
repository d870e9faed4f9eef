"""UnifiedReward (arXiv 2503.05236) and its version that thinks: asked for one winner at a time.

The conclusions ("Image 1 is better.", "Image 2 is better.", "Both images are equally good.") are those of the authors'
script for ranking images, the <answer> tag and the sums of scores those of UnifiedReward-Think's. That it is asked
about one dimension of super-resolution at a time, and shown the LR, is ours.
"""

import re

from components.score.judges.questions import FIRST, OVERALL, SECOND, TIE, Question, Verdicts
from components.score.judges.reading import answered, higher
from components.settings import UnifiedRewardSettings

_BETTER = re.compile(r"\bimage\s*([12])\s+(?:is|appears|looks|seems)\s+(?:the\s+)?better", re.IGNORECASE)
_EQUAL = re.compile(r"\bboth\s+images\s+are\s+(?:equally|about\s+equally)\b", re.IGNORECASE)
_TOTAL = re.compile(r"\bimage\s*([12])\s*:\s*(?:[\d.\s+]*=)?\s*(\d+(?:\.\d+)?)\s*$", re.IGNORECASE | re.MULTILINE)


def questions(settings: UnifiedRewardSettings) -> tuple[Question, ...]:
    """One a dimension, and one for all of them."""
    asked = [Question(_text([about]), (name,)) for name, about in settings.dimensions.items()]
    return (*asked, Question(_text(list(settings.dimensions.values())), (OVERALL,)))


def _text(criteria: list[str]) -> str:
    listed = "\n".join(f"{place}. {about}." for place, about in enumerate(criteria, 1))
    return (
        "Image 1 and Image 2 are two restorations of the low-resolution input above. Compare them by "
        f"{'these criteria' if len(criteria) > 1 else 'this criterion alone'}:\n{listed}\n"
        "Say which image is better, and end with a clear conclusion: "
        '"Image 1 is better.", "Image 2 is better." or "Both images are equally good."'
    )


def read(question: Question, answer: str) -> Verdicts:
    """The last conclusion, or where there is none the scores of the two images."""
    return dict.fromkeys(question.dimensions, _verdict(answer))


def _verdict(answer: str) -> int | None:
    text = answered(answer)
    found = [(match.start(), FIRST if match[1] == "1" else SECOND) for match in _BETTER.finditer(text)]
    found += [(match.start(), TIE) for match in _EQUAL.finditer(text)]
    if found:
        return max(found)[1]
    totals = {match[1]: float(match[2]) for match in _TOTAL.finditer(answer)}
    return higher(totals["1"], totals["2"]) if totals.keys() == {"1", "2"} else None
