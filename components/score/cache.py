"""Finished scores, kept outside the DVC outputs and found by everything that determines them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, TypeAdapter

from components.errors import BadInput
from components.storage import digests
from components.storage.cache import CacheFolder
from components.storage.publish import write_json

_FORMAT = 1
_Entry = Annotated[tuple[float | None, str, str], BeforeValidator(tuple)]
_SCORES = TypeAdapter(dict[str, dict[str, _Entry]])
"""What a file has, so that JSON of another kind counts as absent."""


@dataclass(frozen=True)
class Score:
    """One metric's raw value of one candidate, or, when it is None, why there is none."""

    value: float | None
    reason: str = ""
    detail: str = ""


Scores = dict[str, dict[str, Score]]
"""Metric digest -> candidate's image digest -> score."""


class ScoreCache:
    """One JSON file a group, keyed by the LR's and the HR's pixels.

    Within it scores are keyed by metric and candidate, so that a metric or a candidate added later costs itself alone,
    and a candidate that was made anew is scored anew. A file that is cut short or altered is as good as absent.
    """

    def __init__(self, cache: CacheFolder) -> None:
        self._folder = cache.below("score")

    def read(self, lr_id: str, hr_digest: str) -> Scores:
        """What is known of a group; empty where nothing is."""
        return self._folder.read(self._path(lr_id, hr_digest), _scores) or {}

    def write(self, lr_id: str, hr_digest: str, scores: Scores) -> None:
        """Keep all that is known of a group.

        Raises:
            BadInput: the cache folder cannot be written.
        """
        plain = {
            metric: {image: [score.value, score.reason, score.detail] for image, score in entries.items()}
            for metric, entries in scores.items()
        }
        path = self._path(lr_id, hr_digest)
        try:
            write_json(path, {"scores": plain, "sha256": digests.of_json(plain)})
        except OSError as error:
            raise BadInput(f"the score cache {path} cannot be written ({error}); set run.cache elsewhere") from error
        self._folder.keep(path)

    def _path(self, lr_id: str, hr_digest: str) -> Path:
        key = digests.of_json([_FORMAT, lr_id, hr_digest])
        return self._folder.path / key[:2] / f"{key[:32]}.json"


def _scores(written: bytes) -> Scores:
    """The scores in a file.

    Raises:
        ValueError, LookupError, TypeError: it is cut short, altered, or JSON of another kind.
    """
    content = json.loads(written)
    if content["sha256"] != digests.of_json(content["scores"]):
        raise ValueError("its digest is another")
    known = _SCORES.validate_python(content["scores"], strict=True)
    return {metric: {image: Score(*entry) for image, entry in scores.items()} for metric, scores in known.items()}
