"""Judges' answers, kept outside the DVC outputs and found by everything that determines them."""

import json
from pathlib import Path

from pydantic import TypeAdapter

from components.errors import BadInput
from components.storage import digests
from components.storage.cache import CacheFolder
from components.storage.publish import write_json

_ANSWERS = TypeAdapter(dict[str, str])


def key_of(text: str, *images: str) -> str:
    """Name of an answer: of the question and of what was shown, in its order."""
    return digests.of_json([text, *images])[:32]


class AnswerCache:
    """One JSON file a group of one judge; a file that is cut short or altered is as good as absent."""

    def __init__(self, cache: CacheFolder, judge_digest: str) -> None:
        self._folder = cache.below("judge", judge_digest[:16])

    def read(self, lr_id: str) -> dict[str, str]:
        """Answers by `key_of`; empty where nothing is known."""
        return self._folder.read(self._path(lr_id), _answers) or {}

    def write(self, lr_id: str, answers: dict[str, str]) -> None:
        """Keep all that is known of a group on this machine: a killed run asks nothing twice.

        Raises:
            BadInput: the cache folder cannot be written.
        """
        path = self._path(lr_id)
        try:
            write_json(path, {"answers": answers, "sha256": digests.of_json(answers)})
        except OSError as error:
            raise BadInput(f"the answer cache {path} cannot be written ({error}); set run.cache elsewhere") from error

    def share(self, lr_id: str) -> None:
        """Copy a group's file to where machines share it."""
        self._folder.keep(self._path(lr_id))

    def _path(self, lr_id: str) -> Path:
        return self._folder.path / lr_id[:2] / f"{lr_id}.json"


def _answers(written: bytes) -> dict[str, str]:
    """The answers in a file.

    Raises:
        ValueError, LookupError, TypeError: it is cut short, altered, or JSON of another kind.
    """
    content = json.loads(written)
    answers = _ANSWERS.validate_python(content["answers"], strict=True)
    if content["sha256"] != digests.of_json(answers):
        raise ValueError("its digest is another")
    return answers
