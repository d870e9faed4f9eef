"""A damaged file of this machine hides no good one that machines share."""

from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from components.generate.cache import Entry, GroupCache
from components.judge.cache import EvaluationCache
from components.judge.cache import Scores as Judged
from components.judge.images import EvaluationImage
from components.score.cache import Score, ScoreCache
from components.storage.cache import CacheFolder
from components.storage.store import Store


class Image:
    restored_from, scored_against = "lr", "hr"


IMAGE = cast(EvaluationImage, Image())
CANDIDATES = [Entry(b"first"), Entry(b"second")]
SCORES = {"metric": {"image": Score(0.5)}}
JUDGED = Judged({"psnr": [1.0]}, [])


def candidates(folder: CacheFolder, write: bool) -> bool:
    cache = GroupCache(folder, "model")
    if write:
        cache.write("abcd", "", CANDIDATES)
    return cache.read("abcd", "") == CANDIDATES


def scores(folder: CacheFolder, write: bool) -> bool:
    cache = ScoreCache(folder)
    if write:
        cache.write("lr", "hr", SCORES)
    return cache.read("lr", "hr") == SCORES


def judged(folder: CacheFolder, write: bool) -> bool:
    cache = EvaluationCache(folder)
    if write:
        cache.keep_scores("a", "m", IMAGE, JUDGED)
    return cache.scores("a", "m", IMAGE) == JUDGED


def restored(folder: CacheFolder, write: bool) -> bool:
    cache = EvaluationCache(folder)
    if write:
        cache.keep_images("a", IMAGE, [b"one", b"two"])
    return cache.images("a", IMAGE) == [b"one", b"two"]


@pytest.mark.parametrize("use", [candidates, scores, judged, restored])
def test_the_shared_copy_is_used_where_the_one_here_is_damaged(
    tmp_path: Path, use: Callable[[CacheFolder, bool], bool]
) -> None:
    folder = CacheFolder(tmp_path / "here", Store((tmp_path / "shared").as_uri()))
    assert use(folder, True)
    (here,) = [path for path in (tmp_path / "here").rglob("*") if path.is_file()]
    good = here.read_bytes()
    here.write_bytes(b"{}")
    assert use(folder, False)
    assert here.read_bytes() == good
    (shared,) = [path for path in (tmp_path / "shared").rglob("*") if path.is_file()]
    shared.write_bytes(b"{}")
    here.write_bytes(b"{}")
    assert not use(folder, False)
