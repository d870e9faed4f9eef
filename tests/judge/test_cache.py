"""Finished scores of an evaluation: what is damaged, or is JSON of another kind, counts as absent."""

from pathlib import Path
from typing import cast

import pytest

from components.judge.cache import EvaluationCache, Scores
from components.judge.images import EvaluationImage
from components.storage.cache import CacheFolder


class Image:
    restored_from, scored_against = "lr", "hr"


IMAGE = cast(EvaluationImage, Image())
SCORES = Scores({"psnr": [1.0, None]}, [{"index": 1, "metric": "psnr", "reason": "nan", "detail": ""}])


def test_what_was_kept_comes_back(tmp_path: Path) -> None:
    cache = EvaluationCache(CacheFolder(tmp_path))
    assert cache.scores("a", "m", IMAGE) is None
    cache.keep_scores("a", "m", IMAGE, SCORES)
    assert cache.scores("a", "m", IMAGE) == SCORES


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "7",
        "null",
        "{}",
        '{"values": [], "failures": []}',
        '{"values": {"psnr": 1}, "failures": []}',
        '{"values": {"psnr": ["1"]}, "failures": []}',
        '{"values": {}, "failures": [1]}',
        '{"values": {}}',
    ],
)
def test_plausible_json_counts_as_absent(tmp_path: Path, content: str) -> None:
    cache = EvaluationCache(CacheFolder(tmp_path))
    cache.keep_scores("a", "m", IMAGE, SCORES)
    (file,) = list(tmp_path.rglob("*.json"))
    file.write_text(content)
    assert cache.scores("a", "m", IMAGE) is None
