"""What published judges' answers have in common, read with numbers as numbers. Pure."""

import re

from components.score.judges.questions import FIRST, SECOND, TIE

_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL | re.IGNORECASE)
_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?")
_IMAGE = re.compile(r"\bimage\s*([12])\b", re.IGNORECASE)


def answered(text: str) -> str:
    """What stands in the last <answer> tag; all of the text where there is none."""
    found = _ANSWER.findall(text)
    return str(found[-1]).strip() if found else text.strip()


def named(text: str) -> int | None:
    """The one image that a short text names; None where it names none or both."""
    images = set(_IMAGE.findall(text))
    if len(images) != 1 or re.search(r"image\s*1\s*/\s*2", text, re.IGNORECASE):
        return None
    return FIRST if images == {"1"} else SECOND


def number(value: object) -> float | None:
    """A number, or the first one in a text; None where there is none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value)
    found = _NUMBER.search(value) if isinstance(value, str) else None
    return float(found[0]) if found else None


def higher(first: float, second: float) -> int:
    """FIRST, SECOND or TIE by two scores."""
    return TIE if first == second else FIRST if first > second else SECOND
