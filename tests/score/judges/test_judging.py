"""The stage with judges: a real model's class through the real code path, and one that knows PSNR."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from components.artifacts import tables
from components.artifacts.shards import Shard
from components.errors import BadInput
from components.score.judges.model import load_model, model_digest
from components.score.stage import gather, publish_part, run
from components.settings import Settings, UnifiedRewardFlexSettings
from tests.made import write_candidates, write_dataset, write_params
from tests.score.judges.made import write_judge

M, LRS = 5, 2
SCORE: dict[str, Any] = {"fr": ["psnr"], "nr": ["rank_nss"], "held_out": []}
BY_PSNR = {"kind": "tests.score.judges.made:BY_PSNR", "opponents": M - 1}
OUTPUTS = ("scores", "score_quarantine", "comparisons")


@pytest.fixture(scope="module")
def judge_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("judge")
    write_judge(folder)
    return folder


def project(root: Path, *judges: dict[str, Any]) -> Settings:
    root.mkdir(parents=True, exist_ok=True)
    ids = write_dataset(root, ["align"] * LRS, side=64)
    write_candidates(root, ids, M, side=64)
    return write_params(
        root,
        score=SCORE | {"judges": list(judges)},
        generate={"candidates": M},
        pair={"top": 2},
        prepare={"crop": 64, "min_side": 64},
        run={"device": "cpu"},
    )


def made(root: Path) -> dict[str, list[tables.Row]]:
    return {name: tables.read_any(root / f"data/{name}.parquet")[1] for name in OUTPUTS}


def real(folder: Path, kind: str = "unified_reward_flex", **more: Any) -> dict[str, Any]:
    return {"kind": kind, "model": str(folder), "dtype": "float32", "max_tokens": 4, **more}


def test_ranking_equals_psnr(tmp_path: Path) -> None:
    settings = project(tmp_path, BY_PSNR)
    run(settings, tmp_path)
    found = made(tmp_path)
    for lr_id in {row["lr_id"] for row in found["scores"]}:
        group = [row for row in found["scores"] if row["lr_id"] == lr_id]
        rates = [row["judge_by_psnr_nr"] for row in group]
        # Candidates are one photo under more and more noise: against its LR as against the photo.
        assert np.argsort(rates).tolist() == np.argsort([row["psnr"] for row in group]).tolist()
        assert sorted(rates) == pytest.approx([0.0, 0.25, 0.5, 0.75, 1.0])
    rows = found["comparisons"]
    assert len(rows) == LRS * M * (M - 1) * 4
    assert {row["dimension"] for row in rows} == {"fidelity", "realism", "artefacts", "overall"}
    for row in rows:
        assert row["a"] < row["b"]
        first = row["a"] if row["order"] == "ab" else row["b"]
        assert row["answer"] == ("Image 1" if row["winner"] == first else "Image 2")


def test_a_real_model_through_the_stage(tmp_path: Path, judge_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judges = [
        real(judge_folder, opponents=1),
        real(judge_folder, "unified_reward", opponents=1, dimensions={"realism": "like a photo"}, side="fidelity"),
        real(judge_folder, "visualquality_r1", side=None),
    ]
    settings = project(tmp_path, *judges)
    run(settings, tmp_path)
    found = made(tmp_path)
    by_judge = {name: [row for row in found["comparisons"] if row["judge"] == name] for name in found["scores"][0]}
    calls = {judge.column: LRS * judge.calls(M) for judge in settings.score.judges}
    assert len(by_judge["judge_unified_reward_flex_nr"]) == 4 * calls["judge_unified_reward_flex_nr"]
    assert len(by_judge["judge_unified_reward_fr"]) == calls["judge_unified_reward_fr"]
    assert len(by_judge["judge_visualquality_r1"]) == calls["judge_visualquality_r1"] == LRS * M
    assert len({row["answer"] for row in found["comparisons"]}) > 2
    assert all(row["judge_unified_reward_flex_nr"] == 0.5 for row in found["scores"])  # it speaks no JSON
    unread = [row for row in found["score_quarantine"] if row["metric"] == "judge_visualquality_r1"]
    assert len(unread) == sum(row["judge_visualquality_r1"] is None for row in found["scores"])

    before = {name: (tmp_path / f"data/{name}.parquet").read_bytes() for name in OUTPUTS}
    monkeypatch.setattr("components.score.judging._Asker", lambda *_: pytest.fail("asked again"))
    run(settings, tmp_path)
    assert {name: (tmp_path / f"data/{name}.parquet").read_bytes() for name in OUTPUTS} == before


def test_the_model_sees_pictures_in_their_order_and_the_text(
    judge_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = UnifiedRewardFlexSettings(**real(judge_folder, max_tokens=8))
    ask: Any = load_model(settings, Path(), torch.device("cpu"))
    seen: list[dict[str, Any]] = []
    generate = ask._model.generate
    monkeypatch.setattr(ask._model, "generate", lambda **given: seen.append(given) or generate(**given))
    one, other = (np.random.default_rng(seed).integers(0, 256, (40, 40, 3), dtype=np.uint8) for seed in range(2))
    shown = [["A:", one, "B:", other, "?"], ["A:", other, "B:", one, "?"], ["A:", one, "B:", other, "which?"]]
    answers = [ask(parts) for parts in shown]
    assert answers[0] != answers[2]
    assert [ask(parts) for parts in shown] == answers
    plain, swapped, longer = (given["pixel_values"].chunk(2) for given in seen[:3])
    assert torch.equal(plain[0], swapped[1])
    assert torch.equal(plain[1], swapped[0])
    assert not torch.equal(plain[0], plain[1])
    assert torch.equal(plain[0], longer[0])
    assert seen[2]["input_ids"].shape[1] == seen[0]["input_ids"].shape[1] + len("which")
    assert all(given["do_sample"] is False for given in seen)


def test_what_determines_an_answer(judge_folder: Path, tmp_path: Path) -> None:
    write_judge(tmp_path / "other", seed=1)
    settings = UnifiedRewardFlexSettings(**real(judge_folder))
    digests = [model_digest(one, Path()) for one in (settings, settings.model_copy(update={"opponents": 2}))]
    assert digests[0] == digests[1]
    for changed in ({"model": tmp_path / "other"}, {"dtype": "bfloat16"}, {"max_tokens": 5}):
        assert model_digest(settings.model_copy(update=changed), Path()) != digests[0]


def test_a_killed_run_asks_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = project(tmp_path, BY_PSNR)
    asked: list[int] = []

    def counting(limit: int) -> Any:
        def ask(shown: Any) -> str:
            if len(asked) == limit:
                raise KeyboardInterrupt
            asked.append(1)
            return "Image 1"

        return lambda self, device: ask

    monkeypatch.setattr("components.score.judging.OneJudge.load", counting(7))
    with pytest.raises(KeyboardInterrupt):
        run(settings, tmp_path)
    monkeypatch.setattr("components.score.judging.OneJudge.load", counting(10_000))
    run(settings, tmp_path)
    assert len(asked) == LRS * M * (M - 1)
    for path in (tmp_path / "cache/judge").rglob("*.json"):
        path.write_text(path.read_text()[:-9])
    run(settings, tmp_path)
    assert len(asked) == 2 * LRS * M * (M - 1)


def test_parts_give_the_same_bytes(tmp_path: Path) -> None:
    whole, apart = project(tmp_path / "whole", BY_PSNR), project(tmp_path / "apart", BY_PSNR)
    run(whole, tmp_path / "whole")
    for number in range(2):
        publish_part(apart, tmp_path / "apart", Shard(number, 2))
    gather(apart, tmp_path / "apart")
    for name in OUTPUTS:
        one, other = ((tmp_path / folder / f"data/{name}.parquet").read_bytes() for folder in ("whole", "apart"))
        assert one == other, name


def test_a_missing_model_is_told_before_anything_is_scored(tmp_path: Path) -> None:
    settings = project(tmp_path, real(tmp_path / "nowhere"))
    with pytest.raises(BadInput, match=r"score\.judges\.model: .*nowhere does not exist"):
        run(settings, tmp_path)
    assert not (tmp_path / "cache/score").exists()


def test_without_judges_there_are_no_rows(tmp_path: Path) -> None:
    run(project(tmp_path), tmp_path)
    assert made(tmp_path)["comparisons"] == []
    assert list(made(tmp_path)["scores"][0]) == ["lr_id", "index", "split", "psnr", "rank_nss", "reward"]
