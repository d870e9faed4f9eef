"""Each promise of a metric is found broken where it is, and by its own name."""

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from typer.testing import CliRunner

from components.cli.app import app
from components.metrics import table
from components.metrics.brought import OwnMetric
from components.metrics.check import CHECKS, check
from components.metrics.table import Kind
from components.metrics.trial import DEGRADATIONS, Trial, shipped_photos, trials
from tests.examples.lost_edges import LOST_EDGES, lost_edges

CPU = torch.device("cpu")
CALLS = itertools.count()


def random(candidates: Tensor, hr: Tensor | None) -> Tensor:
    return lost_edges(candidates, hr) + 1e-3 * torch.rand(len(candidates))


def counts_calls(candidates: Tensor, hr: Tensor | None) -> Tensor:
    return lost_edges(candidates, hr) + 1e-3 * next(CALLS)


def relative_to_the_batch(candidates: Tensor, hr: Tensor | None) -> Tensor:
    values = lost_edges(candidates, hr)
    return values / values.mean()


def writes_to_what_it_is_given(candidates: Tensor, hr: Tensor | None) -> Tensor:
    values = lost_edges(candidates, hr)
    candidates.sub_(0.5)
    return values


def in_hundreds(candidates: Tensor, hr: Tensor | None) -> Tensor:
    return 100.0 * lost_edges(candidates, hr)


def of_a_mean_picture(candidates: Tensor, hr: Tensor | None) -> Tensor:
    return candidates.mean((1, 2, 3))


def likes_noise(candidates: Tensor, hr: Tensor | None) -> Tensor:
    return -(candidates[..., 1:] - candidates[..., :-1]).abs().mean((1, 2, 3))


def rounded(candidates: Tensor, hr: Tensor | None) -> Tensor:
    assert hr is not None
    return lost_edges((candidates * 255).round() / 255, hr)


def sometimes_nan(candidates: Tensor, hr: Tensor | None) -> Tensor:
    values = lost_edges(candidates, hr)
    return torch.where(values > 0.05, torch.nan, values)


def one_too_many(candidates: Tensor, hr: Tensor | None) -> Tensor:
    return torch.cat([lost_edges(candidates, hr), torch.zeros(1)])


def own(function: Callable[[Tensor, Tensor | None], Tensor], **changes: object) -> OwnMetric:
    return replace(LOST_EDGES, load=lambda device: function, **changes)  # type: ignore[arg-type]


BROKEN = {
    "random": (own(random, differentiable=False), {"determinism", "batch independence"}),
    "counts": (own(counts_calls, differentiable=False), {"determinism", "batch independence"}),
    "of_batch": (own(relative_to_the_batch, value_range="0 .. 100", differentiable=False), {"batch independence"}),
    "writes": (own(writes_to_what_it_is_given, differentiable=False), {"inputs stay"}),
    "range": (own(in_hundreds), {"range"}),
    "unreadable": (own(lost_edges, value_range="small"), {"range"}),
    "deaf": (own(of_a_mean_picture, value_range="0 .. 1", differentiable=False), {"reference", "direction"}),
    "turned": (own(lost_edges, higher_is_better=True, differentiable=False), {"direction"}),
    "noisy": (own(likes_noise, kind=Kind.NR, value_range="-1 .. 0", differentiable=False), {"direction: noise"}),
    "rounded": (own(rounded), {"gradient"}),
    "nan": (own(sometimes_nan, differentiable=False), {"values", "sizes"}),
    "small": (own(lost_edges, min_size=1), {"sizes"}),
    "shape": (own(one_too_many, differentiable=False), {"shape"}),
}
WHOLE = own(lost_edges)
globals().update({name.upper(): metric for name, (metric, _) in BROKEN.items()})  # as a user's module has rows


@pytest.fixture(scope="module")
def pictures() -> list[Trial]:
    return trials(64, shipped_photos(("astronaut.png", "coffee.png")))


def test_a_metric_that_keeps_all_promises(pictures: list[Trial]) -> None:
    outcomes = list(check("tests.metrics.test_check:WHOLE", CPU, pictures))
    assert [outcome.name for outcome in outcomes] == list(CHECKS)
    assert {outcome.name: outcome.seen for outcome in outcomes if not outcome.holds} == {}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_named_with_the_way_out(name: str, pictures: list[Trial]) -> None:
    outcomes = list(check(f"tests.metrics.test_check:{name.upper()}", CPU, pictures))
    broken = {outcome.name: outcome for outcome in outcomes if not outcome.holds}
    for expected in BROKEN[name][1]:
        assert any(found.startswith(expected) for found in broken), (expected, broken)
    assert all(outcome.change == CHECKS[outcome.name][1] for outcome in broken.values())
    if name != "shape":  # one that gives another shape fails nearly everywhere
        allowed = {one.split(":")[0] for one in BROKEN[name][1]} | (
            {"reference"} if name in ("random", "counts", "of_batch") else set()
        )
        assert all(any(found.startswith(one) for one in allowed) for found in broken), broken


def test_degradations_are_of_rising_strength(pictures: list[Trial]) -> None:
    for trial in pictures:
        for name in DEGRADATIONS:
            errors = (trial.degraded[name] - trial.hr).square().mean((1, 2, 3))
            assert bool((errors.diff() > 0).all()), name


def test_the_command_ends_with_2_where_a_promise_is_broken(tmp_path: Path) -> None:
    def run(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, ["check-metric", *arguments], env={"COLUMNS": "160"})
        return result.exit_code, result.output

    code, said = run("tests.metrics.test_check:TURNED", "--side", "64")
    assert code == 2
    assert "NO   direction: blur: 0% of 120 pairs" in said
    assert "is higher_is_better the wrong way round?" in said
    assert "keep it out of score.fr and score.nr" in said
    rows, columns = np.indices((96, 128))
    picture = np.stack([rows * 2, columns, (rows + columns) % 32 * 8], axis=-1).astype(np.uint8)
    Image.fromarray(picture).save(tmp_path / "one.png")
    (tmp_path / "no_photo.png").write_bytes(b"nothing")
    code, said = run("psnr", "--photos", str(tmp_path), "--side", "64", "--json")
    assert code == 0
    assert all(one["holds"] for one in json.loads(said[said.index("[") : said.rindex("]") + 1]))
    assert "left out: no_photo.png" in said
    code, said = run("psnr", "--photos", str(tmp_path), "--side", "512")
    assert code == 2
    assert "no photo has a side of 512 px" in said
    assert run("nowhere:ROW")[0] == 2


def test_the_row_of_every_metric_has_a_range_that_can_be_checked() -> None:
    from components.metrics.check import _RANGE  # noqa: PLC0415

    assert [name for name, row in table.TABLE.items() if not _RANGE.fullmatch(row.value_range)] == []
