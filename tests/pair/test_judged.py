"""Judges' columns in the reward of pairs, and as the judge of `rank_then_sift`."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from components.errors import BadInput
from components.pair.stage import SetAside, group_scores
from components.plan.workload import LRImages, Workload
from components.rewards.scalarisers import rewards_of
from components.rewards.sides import sides
from components.settings import MinMaxScalariser, Settings
from tests.made import small_params, write_dataset, write_params
from tests.pair.test_stage import M, drawn, groups_and_pairs, run, write_scores

FLEX: dict[str, Any] = {"kind": "unified_reward_flex", "model": "m"}
METRICS = ["psnr", "musiq"]


def project(root: Path, judge: dict[str, Any], has_hr: bool = True, **pair: Any) -> tuple[Settings, list[str]]:
    score = {"fr": ["psnr"], "nr": ["musiq"], "held_out": [], "judges": [FLEX | judge]}
    pair = {"top": 2} | pair
    return (
        write_params(root, score=score, pair=pair, generate={"candidates": M}, prepare={"crop": 128}),
        write_dataset(root, ["align"] * 2, has_hr),
    )


def written(root: Path, ids: list[str], columns: list[str]) -> dict[str, dict[str, list[float]]]:
    groups = {lr_id: drawn(seed, columns) for seed, lr_id in enumerate(ids)}
    write_scores(root, groups, columns)
    return groups


@pytest.mark.parametrize(
    ("side", "column"), [("realism", "judge_unified_reward_flex_nr"), ("fidelity", "judge_unified_reward_flex_fr")]
)
def test_a_judge_counts_as_one_metric_of_its_side(tmp_path: Path, side: str, column: str) -> None:
    settings, ids = project(tmp_path, {"side": side})
    groups = written(tmp_path, ids, [*METRICS, column])
    (scores, _) = group_scores(settings, tmp_path, tmp_path / "data/scores.parquet", SetAside())
    own = {name: np.array(values) for name, values in groups[scores.lr_id].items()}
    stretched = {name: (values - values.min()) / (values.max() - values.min()) for name, values in own.items()}
    other = "psnr" if side == "fidelity" else "musiq"
    shared = (stretched[other] + stretched[column]) / 2
    alone = stretched["musiq" if side == "fidelity" else "psnr"]
    assert rewards_of(scores, MinMaxScalariser()) == pytest.approx((shared + alone) / 2)


def test_without_hr_it_stands_beside_lr_consistency() -> None:
    names = ["lr_consistency", "musiq", "judge_a_fr", "judge_b_nr"]
    assert sides(names) == (["lr_consistency", "judge_a_fr"], ["musiq", "judge_b_nr"])
    with pytest.raises(BadInput, match="stand-in"):
        sides(["psnr", *names])


def test_without_a_side_the_pairs_do_not_change(tmp_path: Path) -> None:
    column = "judge_unified_reward_flex"
    settings, ids = project(tmp_path, {"side": None})
    written(tmp_path, ids, [*METRICS, column])
    run(settings, tmp_path)
    before = groups_and_pairs(tmp_path)
    plain = write_params(
        tmp_path, score={"fr": ["psnr"], "nr": ["musiq"], "held_out": []}, pair={"top": 2}, generate={"candidates": M}
    )
    run(plain, tmp_path)
    assert groups_and_pairs(tmp_path) == before


def test_rank_then_sift_by_a_judge(tmp_path: Path) -> None:
    """The judge prefers lower indexes and the scorer agrees: winners are below losers, whatever fidelity says."""
    builder = {"kind": "rank_then_sift", "judge": "unified_reward_flex", "scorer": "realism"}
    settings, ids = project(tmp_path, {"side": None}, builder=builder)
    falling = [float(M - place) for place in range(M)]
    columns = {"psnr": falling[::-1], "musiq": falling, "judge_unified_reward_flex": falling}
    write_scores(tmp_path, dict.fromkeys(ids, columns), list(columns))
    run(settings, tmp_path)
    pairs = groups_and_pairs(tmp_path)[1]
    assert pairs
    assert all(row["winner"] < row["loser"] for row in pairs)
    columns["judge_unified_reward_flex"] = [1.0] * M
    write_scores(tmp_path, dict.fromkeys(ids, columns), list(columns))
    with pytest.raises(BadInput, match="makes none"):
        run(settings, tmp_path)


def test_judges_that_do_not_fit_are_refused() -> None:
    values = small_params()
    values["pair"] |= {"builder": {"kind": "rank_then_sift", "judge": "unified_reward"}}
    with pytest.raises(
        ValidationError, match=r"has judge unified_reward, which is neither a side .* score\.judges \[\]"
    ):
        Settings.model_validate(values)
    rater = {"kind": "visualquality_r1", "model": "m", "side": None}
    values["pair"] |= {"builder": {"kind": "rank_then_sift", "judge": "visualquality_r1"}}
    values["score"] |= {"judges": [rater]}
    with pytest.raises(ValidationError, match="whose answer may have no rating: give it a side"):
        Settings.model_validate(values)
    values["score"] |= {"judges": [rater | {"side": "realism"}]}
    Settings.model_validate(values)
    values["score"] |= {"judges": [FLEX, FLEX | {"opponents": 2}]}
    with pytest.raises(ValidationError, match="judges has unified_reward_flex more than once"):
        Settings.model_validate(values)
    values["score"] |= {"judges": [{"kind": "nobody"}]}
    with pytest.raises(ValidationError, match="there is no judge 'nobody': give one of unified_reward_flex"):
        Settings.model_validate(values)


def test_the_plan_names_the_calls() -> None:
    values = small_params()
    assert "judges" not in Settings.model_validate(values).score.model_dump()
    values["score"] |= {"judges": [FLEX, {"kind": "visualquality_r1", "model": "m"}]}
    workload = Workload.of(Settings.model_validate(values), LRImages(100, 10, "made"), 4)
    assert workload.judge_calls == {"unified_reward_flex": 100 * 8 * 4, "visualquality_r1": 100 * 8}
