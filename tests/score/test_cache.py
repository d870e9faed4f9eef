import json
from collections.abc import Callable
from pathlib import Path

import pytest

from components.score.cache import Score, ScoreCache, Scores
from components.storage import digests
from components.storage.cache import CacheFolder

SCORES: Scores = {"metric-a": {"image-1": Score(0.1 + 0.2), "image-2": Score(None, "not_finite", "nan")}}


def only_file(folder: Path) -> Path:
    (path,) = folder.rglob("*.json")
    return path


def test_what_was_written_is_read_exactly(tmp_path: Path) -> None:
    cache = ScoreCache(CacheFolder(tmp_path))
    cache.write("lr", "hr", SCORES)
    assert cache.read("lr", "hr") == SCORES
    assert cache.read("lr", "another hr") == {}
    assert cache.read("another lr", "hr") == {}


@pytest.mark.parametrize(
    "change", [lambda text: text[:-20], lambda text: text.replace("image-1", "image-3"), lambda _: "{}"]
)
def test_a_damaged_file_is_as_good_as_absent(tmp_path: Path, change: Callable[[str], str]) -> None:
    cache = ScoreCache(CacheFolder(tmp_path))
    cache.write("lr", "hr", SCORES)
    path = only_file(tmp_path)
    path.write_text(change(path.read_text()))
    assert cache.read("lr", "hr") == {}


@pytest.mark.parametrize(
    "scores",
    [
        [],
        7,
        None,
        "x",
        {"metric": []},
        {"metric": {"image": 7}},
        {"metric": {"image": [1.0]}},
        {"metric": {"image": ["1", "", ""]}},
        {"metric": {"image": [1.0, None, ""]}},
        {"metric": None},
    ],
)
def test_scores_of_another_kind_count_as_absent_whatever_their_digest(tmp_path: Path, scores: object) -> None:
    cache = ScoreCache(CacheFolder(tmp_path))
    cache.write("lr", "hr", SCORES)
    only_file(tmp_path).write_text(json.dumps({"scores": scores, "sha256": digests.of_json(scores)}))
    assert cache.read("lr", "hr") == {}
    only_file(tmp_path).write_text(json.dumps(scores))
    assert cache.read("lr", "hr") == {}
