from collections.abc import Callable
from pathlib import Path

import pytest

from components.artifacts.cache import CacheFolder
from components.score.cache import Score, ScoreCache, Scores

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
