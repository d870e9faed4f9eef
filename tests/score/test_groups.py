from collections.abc import Sequence

import torch

from components.metrics.suite import Suite
from components.score import groups
from components.score.cache import Score

CANDIDATES = [{"lr_id": "a", "index": index, "split": "align", "image_digest": f"image-{index}"} for index in range(3)]


def scores(suite: Suite, **values: list[float | None]) -> dict[str, dict[str, Score]]:
    return {
        suite.metrics[name].digest: {
            f"image-{index}": Score(
                value, "" if value is not None else "not_finite", "" if value is not None else "nan"
            )
            for index, value in enumerate(column)
        }
        for name, column in values.items()
    }


def test_failed_rewarded_metric_sets_the_candidate_aside_and_the_rest_is_normalised_without_it() -> None:
    suite = Suite.load(["psnr", "piqe"])
    known = scores(suite, psnr=[20.0, 30.0, 22.0], piqe=[40.0, None, 50.0])
    kept, quarantined = groups.rows(suite.digests, known, CANDIDATES, True, ["psnr", "piqe"])
    assert [(row["index"], row["reward"]) for row in kept] == [(0, 0.5), (2, 0.5)]
    assert quarantined == [{"lr_id": "a", "index": 1, "metric": "piqe", "reason": "not_finite", "detail": "nan"}]


def test_failed_held_out_metric_leaves_the_candidate_in_the_reward() -> None:
    suite = Suite.load(["psnr", "piqe"])
    known = scores(suite, psnr=[20.0, 30.0, 25.0], piqe=[40.0, None, 50.0])
    kept, quarantined = groups.rows(suite.digests, known, CANDIDATES, True, ["psnr"])
    assert [(row["reward"], row["piqe"]) for row in kept] == [(0.0, 40.0), (1.0, None), (0.5, 50.0)]
    assert [row["index"] for row in quarantined] == [1]


def test_without_hr_the_fr_columns_are_null() -> None:
    suite = Suite.load(["psnr", "piqe", "lr_consistency"])
    known = scores(suite, piqe=[40.0, 30.0, 50.0], lr_consistency=[30.0, 40.0, 20.0])
    kept, quarantined = groups.rows(suite.digests, known, CANDIDATES, False, ["lr_consistency", "piqe"])
    assert [row["psnr"] for row in kept] == [None, None, None]
    assert [row["reward"] for row in kept] == [0.5, 1.0, 0.0]
    assert quarantined == []


def test_only_what_is_missing_is_computed() -> None:
    """A new candidate costs itself, a new metric costs itself; images are read for those alone."""
    suite = Suite.load(["psnr", "lr_consistency"])
    generator = torch.Generator().manual_seed(0)
    images, hr = (torch.rand(count, 3, 16, 16, generator=generator) for count in (3, 1))
    lr = torch.rand(1, 3, 4, 4, generator=generator)
    known = scores(suite, psnr=[1.0, 2.0])
    asked: list[tuple[int, ...]] = []

    def read(positions: Sequence[int]) -> torch.Tensor:
        asked.append(tuple(positions))
        return images[list(positions)]

    digests = [str(row["image_digest"]) for row in CANDIDATES]
    complete = groups.complete(suite, known, digests, read, hr=hr, lr=lr, batch=2)
    assert asked == [(2,), (0, 1, 2)]
    by_psnr = complete[suite.metrics["psnr"].digest]
    assert [by_psnr[digest].value for digest in digests[:2]] == [1.0, 2.0]
    expected = suite.score(images, hr, lr).values["psnr"][2]
    assert by_psnr[digests[2]].value == expected
    assert groups.missing(suite.digests, complete, digests, True) == {}
    assert "image-2" not in known[suite.metrics["psnr"].digest]
