"""The stage on made scores."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.artifacts import tables
from components.artifacts.shards import Shard
from components.errors import BadInput
from components.pair.builders.dp2o import top_by_bottom
from components.pair.pairs import NO_LOSER, rank
from components.pair.stage import run
from components.rewards.group import group_rewards
from components.settings import Settings
from tests.made import write_dataset, write_params
from tests.pair.test_builders import GOLDEN

FR, NR = ["lpips-vgg", "topiq_fr", "afine_fr"], ["musiq", "afine_nr"]
M = 8


def settings(root: Path, train: dict[str, Any] | None = None, **pair: Any) -> Settings:
    score = {"fr": FR, "nr": NR, "held_out": []}
    return write_params(root, score=score, pair={"top": 2} | pair, generate={"candidates": M}, train=train or {})


def write_scores(root: Path, groups: dict[str, dict[str, list[float]]], metrics: list[str]) -> None:
    """data/scores.parquet from raw values by LR image and metric; what a group lacks is null."""
    rows = [
        {"lr_id": lr_id, "index": index, "split": "align", "reward": 0.0}
        | {name: scores[name][index] if name in scores else None for name in metrics}
        for lr_id, scores in groups.items()
        for index in range(len(next(iter(scores.values()))))
    ]
    tables.write_rows(root / "data/scores.parquet", tables.scores_schema(metrics), rows)


def drawn(seed: int, names: list[str], count: int = M) -> dict[str, list[float]]:
    generator = np.random.default_rng(seed)
    return {name: generator.random(count).tolist() for name in names}


def groups_and_pairs(root: Path) -> tuple[list[tables.Row], list[tables.Row]]:
    return (
        tables.read_rows(root / "data/groups.parquet", tables.GROUPS),
        tables.read_rows(root / "data/pairs.parquet", tables.PAIRS),
    )


def test_golden_group_through_the_stage(tmp_path: Path) -> None:
    first, second = write_dataset(tmp_path, ["align", "align"])
    flat = {name: [1.0, 0.0, 0.0, 0.0] for name in FR + NR}
    write_scores(tmp_path, {first: GOLDEN, second: flat}, FR + NR)
    run(settings(tmp_path), tmp_path)
    groups, pairs = groups_and_pairs(tmp_path)
    golden = next(row for row in groups if row["lr_id"] == first)
    assert golden["size"] == 4
    assert (golden["sigma"], golden["mu_gap"]) == (pytest.approx(0.328777, abs=1e-6), pytest.approx(0.427778, abs=1e-6))
    other = next(row for row in groups if row["lr_id"] == second)
    assert golden["w_inter"] == pytest.approx(golden["sigma"] + 1 - (golden["sigma"] + other["sigma"]) / 2)
    mine = [row for row in pairs if row["lr_id"] == first]
    assert [(row["winner"], row["loser"]) for row in mine] == [(1, 3), (1, 2), (0, 3), (0, 2)]
    assert [row["w_intra"] for row in mine] == pytest.approx([1.422222, 0.733333, 1.266667, 0.577778], abs=1e-6)
    for row in mine:
        assert row["w_inter"] == golden["w_inter"]
        assert row["weight"] == pytest.approx(row["w_intra"] * row["w_inter"])
    assert np.mean([row["w_inter"] for row in groups]) == pytest.approx(1.0)


@pytest.mark.parametrize(("intra", "inter"), [(True, False), (False, True), (False, False)])
def test_each_weight_can_be_left_out(tmp_path: Path, intra: bool, inter: bool) -> None:
    ids = write_dataset(tmp_path, ["align", "align"])
    write_scores(tmp_path, {lr_id: drawn(seed, FR + NR) for seed, lr_id in enumerate(ids)}, FR + NR)
    run(settings(tmp_path, intra_weights=intra, inter_weights=inter), tmp_path)
    for row in groups_and_pairs(tmp_path)[1]:
        expected = (row["w_intra"] if intra else 1.0) * (row["w_inter"] if inter else 1.0)
        assert row["weight"] == pytest.approx(expected)


def test_a_smaller_m_takes_the_first_candidates_and_renormalises(tmp_path: Path) -> None:
    ids = write_dataset(tmp_path, ["align"])
    scores = drawn(3, FR + NR)
    scores["musiq"][6] = 50.0  # outside of the first four, and extreme: it must not be in their min-max
    write_scores(tmp_path, {ids[0]: scores}, FR + NR)
    run(settings(tmp_path, candidates=4), tmp_path)
    groups, pairs = groups_and_pairs(tmp_path)
    first = group_rewards({name: np.array(values[:4]) for name, values in scores.items()})
    expected = top_by_bottom((0, 1, 2, 3), first, 2)
    assert groups[0]["size"] == 4
    assert [(row["winner"], row["loser"], row["gap"]) for row in pairs] == [
        (pair.winner, pair.loser, pytest.approx(pair.gap)) for pair in expected
    ]


@pytest.mark.parametrize(("builder", "count"), [("dp2o", 4), ("best_vs_worst", 1), ("random", 4), ("winners_only", 2)])
def test_builders_by_name(tmp_path: Path, builder: str, count: int) -> None:
    ids = write_dataset(tmp_path, ["align"])
    write_scores(tmp_path, {ids[0]: drawn(0, FR + NR)}, FR + NR)
    train = {"objective": "winners_only"} if builder == "winners_only" else {}
    run(settings(tmp_path, train, builder=builder), tmp_path)
    pairs = groups_and_pairs(tmp_path)[1]
    assert len(pairs) == count
    assert all((row["loser"] == NO_LOSER) == (builder == "winners_only") for row in pairs)


def test_small_and_tied_groups_are_set_aside_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    small, tied, good = write_dataset(tmp_path, ["align"] * 3)
    flat = {name: [1.0] * M for name in FR + NR}
    write_scores(tmp_path, {small: drawn(0, FR + NR, 3), tied: flat, good: drawn(1, FR + NR)}, FR + NR)
    with caplog.at_level(logging.INFO, "dp2o.pair"):
        run(settings(tmp_path), tmp_path)
    assert [row["lr_id"] for row in groups_and_pairs(tmp_path)[0]] == [good]
    assert "1 groups with too few scored candidates, 1 of which the builder makes none" in caplog.text


def test_nothing_left(tmp_path: Path) -> None:
    small, tied = write_dataset(tmp_path, ["align"] * 2)
    flat = {name: [1.0] * M for name in FR + NR}
    write_scores(tmp_path, {small: drawn(0, FR + NR, 3), tied: flat}, FR + NR)
    with pytest.raises(
        BadInput, match=r"no group .*1 with fewer than 4 scored\s+candidates, 1 of which pair.builder dp2o makes none"
    ):
        run(settings(tmp_path), tmp_path)
    assert not (tmp_path / "data/pairs.parquet").exists()


def test_each_reason_for_no_pair_has_a_way_out_that_helps(tmp_path: Path) -> None:
    small, tied = write_dataset(tmp_path, ["align"] * 2)
    flat = {name: [1.0] * M for name in FR + NR}
    write_scores(tmp_path, {small: drawn(0, FR + NR, 3)}, FR + NR)
    with pytest.raises(BadInput, match=r"; lower pair\.top, or look into data/score_quarantine\.parquet [^;]*$"):
        run(settings(tmp_path), tmp_path)
    run(settings(tmp_path, top=1), tmp_path)
    write_scores(tmp_path, {tied: flat}, FR + NR)
    with pytest.raises(
        BadInput,
        match=r"; take metrics in score\.fr and score\.nr that tell the candidates apart, or another pair\.builder$",
    ):
        run(settings(tmp_path), tmp_path)
    write_scores(tmp_path, {tied: drawn(1, FR + NR)}, FR + NR)
    run(settings(tmp_path), tmp_path)


def test_other_splits_are_not_paired(tmp_path: Path) -> None:
    ids = write_dataset(tmp_path, ["align", "test"])
    write_scores(tmp_path, {lr_id: drawn(0, FR + NR) for lr_id in ids}, FR + NR)
    rows = tables.read_any(tmp_path / "data/scores.parquet")[1]
    for row in rows:
        row["split"] = "align" if row["lr_id"] == ids[0] else "test"
    tables.write_rows(tmp_path / "data/scores.parquet", tables.scores_schema(FR + NR), rows)
    run(settings(tmp_path), tmp_path)
    assert {row["lr_id"] for row in groups_and_pairs(tmp_path)[1]} == {ids[0]}


def test_without_hr_lr_consistency_is_the_fidelity_half(tmp_path: Path) -> None:
    ids = write_dataset(tmp_path, ["align"], has_hr=False)
    metrics = [*FR, *NR, "lr_consistency"]
    scores = drawn(0, [*NR, "lr_consistency"])
    write_scores(tmp_path, {ids[0]: scores}, metrics)
    run(settings(tmp_path), tmp_path)
    rewards = group_rewards({name: np.array(values) for name, values in scores.items()})
    without = group_rewards({name: np.array(scores[name]) for name in NR})
    assert rank(range(M), rewards) != rank(range(M), without)
    found = [(row["winner"], row["loser"], row["gap"]) for row in groups_and_pairs(tmp_path)[1]]
    assert found == [
        (pair.winner, pair.loser, pytest.approx(pair.gap)) for pair in top_by_bottom(tuple(range(M)), rewards, 2)
    ]


def test_with_hr_lr_consistency_is_no_part_of_the_reward(tmp_path: Path) -> None:
    ids = write_dataset(tmp_path, ["align"])
    scores = drawn(0, [*FR, *NR, "lr_consistency"])
    write_scores(tmp_path, {ids[0]: scores}, [*FR, *NR, "lr_consistency"])
    run(settings(tmp_path), tmp_path)
    rewards = group_rewards({name: np.array(scores[name]) for name in FR + NR})
    found = [row["gap"] for row in groups_and_pairs(tmp_path)[1]]
    assert found == pytest.approx([pair.gap for pair in top_by_bottom(tuple(range(M)), rewards, 2)])


@pytest.mark.parametrize("column", ["missing", "null"])
def test_a_rewarded_metric_without_scores_is_named(tmp_path: Path, column: str) -> None:
    ids = write_dataset(tmp_path, ["align"])
    scored = [*FR, "musiq"]
    write_scores(tmp_path, {ids[0]: drawn(0, scored)}, scored if column == "missing" else FR + NR)
    with pytest.raises(BadInput, match=r"candidate 0 of .* rewarded metrics \['afine_nr'\]; run the score stage again"):
        run(settings(tmp_path), tmp_path)


def test_scores_of_an_unknown_image(tmp_path: Path) -> None:
    write_dataset(tmp_path, ["align"])
    write_scores(tmp_path, {"0123456789abcdef": drawn(0, FR + NR)}, FR + NR)
    with pytest.raises(BadInput, match=r"0123456789abcdef, which data/dataset\.parquet lacks"):
        run(settings(tmp_path), tmp_path)


def test_shards_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="pair cannot be sharded"):
        run(settings(tmp_path), tmp_path, Shard(0, 2))


def test_two_runs_give_the_same_bytes(tmp_path: Path) -> None:
    ids = write_dataset(tmp_path, ["align", "align"])
    write_scores(tmp_path, {lr_id: drawn(seed, FR + NR) for seed, lr_id in enumerate(ids)}, FR + NR)
    files = [tmp_path / "data/groups.parquet", tmp_path / "data/pairs.parquet"]
    run(settings(tmp_path), tmp_path)
    before = [file.read_bytes() for file in files]
    run(settings(tmp_path), tmp_path)
    assert [file.read_bytes() for file in files] == before
