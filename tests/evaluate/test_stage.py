import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest

from components.artifacts import tables
from components.artifacts.evaluation import DEVIATION_STEPS, Evaluation
from components.artifacts.shards import Shard, ShardReader
from components.errors import BadInput
from components.evaluate.evaluator import Evaluator
from components.evaluate.stage import run
from components.judge import measure
from components.rewards.normaliser import FixedNormaliser
from tests.evaluate.project import SIDE, build, settings

OUTPUTS = (
    "reports/evaluation.json",
    "reports/evaluation.parquet",
    "reports/normaliser.json",
    "data/evaluation/images.tar",
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = build(tmp_path_factory.mktemp("project"))
    run(settings(), root)
    return root


def evaluation(root: Path) -> dict[str, object]:
    content: dict[str, object] = json.loads((root / "reports/evaluation.json").read_text())
    return content


def test_every_model_image_and_seed_has_a_row(finished: Path) -> None:
    names, rows = tables.read_any(finished / "reports/evaluation.parquet")
    assert names == ["model", "lr_id", "index", "gmsd", "piqe", "psnr", "ssim", "reward"]
    counts = {model: sum(row["model"] == model for row in rows) for model in ("base", "aligned", "bicubic")}
    assert counts == {"base": 4 * 3, "aligned": 4 * 3, "bicubic": 4}
    assert len(rows) == 28


def test_json_figures_are_those_of_the_rows(finished: Path) -> None:
    _, rows = tables.read_any(finished / "reports/evaluation.parquet")
    content = evaluation(finished)
    assert (content["images"], content["photos"], content["pairs"], content["seeds"]) == (4, 2, 12, 3)
    for name, figures in {**content["metrics"], "reward": content["reward"]}.items():
        base, aligned = (np.mean([row[name] for row in rows if row["model"] == model]) for model in ("base", "aligned"))
        assert figures["base"] == pytest.approx(base)
        assert figures["aligned"] == pytest.approx(aligned)
        assert figures["difference"] == pytest.approx(aligned - base)
        assert figures["ci_low"] <= figures["difference"] <= figures["ci_high"]
    assert {name: figures["in_reward"] for name, figures in content["metrics"].items()} == {
        "gmsd": True,
        "piqe": True,
        "psnr": False,
        "ssim": False,
    }
    keyed = {(row["model"], row["lr_id"], row["index"]): row["reward"] for row in rows}
    won = [keyed["aligned", lr, i] > reward for (model, lr, i), reward in keyed.items() if model == "base"]
    assert content["win_rate"]["value"] == pytest.approx(np.mean(won))
    assert content["best_mean_worst"]["base"]["1"]["best"] == pytest.approx(content["reward"]["base"])
    assert list(content["best_mean_worst"]["aligned"]) == ["1", "2", "3"]
    assert content["peers"]["bicubic"]["psnr"] > 20.0


def test_where_seeds_disagree_is_a_picture_and_its_mean_a_figure(finished: Path) -> None:
    content = json.loads((finished / "reports/evaluation.json").read_text())
    reader = ShardReader(finished / "data/evaluation/images.tar")
    maps = [name for name in reader if name.endswith(".deviation.png")]
    assert len(maps) == 4 * 2
    for model in ("base", "aligned"):
        levels = [reader.image(name).mean() / DEVIATION_STEPS for name in maps if f".{model}." in name]
        assert content["seed_deviation"][model] == pytest.approx(np.mean(levels), abs=0.13)  # steps of a quarter
        assert content["seed_deviation"][model] > 0.0


def test_the_baseline_spans_the_normaliser(finished: Path) -> None:
    _, rows = tables.read_any(finished / "reports/evaluation.parquet")
    normaliser = FixedNormaliser.load(finished / "reports/normaliser.json")
    base = [row for row in rows if row["model"] == "base"]
    for name in ("gmsd", "piqe"):
        values = [row[name] for row in base]
        assert normaliser.bounds[name] == (min(values), max(values))
    assert normaliser.digest == evaluation(finished)["digests"]["normaliser"]


def test_pictures_of_all_models_are_kept(finished: Path) -> None:
    shard = ShardReader(finished / "data/evaluation/images.tar")
    names = list(shard)
    assert len(names) == 4 * (2 + 2 + 1 + 2)  # two seeds each, the peer, and where the seeds of both disagree
    assert shard.image(names[0]).shape == (SIDE, SIDE, 3)


def test_two_runs_give_the_same_bytes(finished: Path, tmp_path: Path) -> None:
    again = build(tmp_path / "again")
    run(settings(), again)
    for name in OUTPUTS:
        assert (again / name).read_bytes() == (finished / name).read_bytes(), name


def test_workers_do_not_change_a_byte(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "encode_png", lambda image: pytest.fail("restored in this process"))
    again = build(tmp_path / "again")
    run(settings(run={"workers": 2}), again)
    for name in OUTPUTS:
        assert (again / name).read_bytes() == (finished / name).read_bytes(), name


def test_shards_fill_the_cache_and_a_second_run_restores_nothing(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = build(tmp_path / "sharded")
    for index in range(2):
        run(settings(), root, Shard(index, 2))
    assert not (root / "reports").exists()
    monkeypatch.setattr(measure, "encode_png", lambda image: pytest.fail("restored again"))
    run(settings(), root)
    for name in OUTPUTS:
        assert (root / name).read_bytes() == (finished / name).read_bytes(), name


def test_the_base_compared_with_itself_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = build(tmp_path / "same")
    shutil.rmtree(root / "models/aligned/best")
    shutil.copytree(root / "base", root / "models/aligned/best")
    with caplog.at_level(logging.INFO, "dp2o.evaluate"):
        run(settings(), root)
    content = evaluation(root)
    reward = content["reward"]
    assert (reward["difference"], reward["ci_low"], reward["ci_high"]) == (0.0, 0.0, 0.0)
    assert content["win_rate"] == {"value": 0.5, "ci_low": 0.5, "ci_high": 0.5}
    assert {figures["verdict"] for figures in content["metrics"].values()} == {"no significant change"}
    assert caplog.messages[-1].endswith("held-out metrics significantly worse: none")


def test_an_image_without_hr_has_no_full_reference_scores(tmp_path: Path) -> None:
    root = build(tmp_path / "real", real_lr=True)
    run(settings(), root)
    names, rows = tables.read_any(root / "reports/evaluation.parquet")
    assert "lr_consistency" in names
    without_hr = [row for row in rows if row["psnr"] is None]
    assert len({row["lr_id"] for row in without_hr}) == 1
    assert all(row["gmsd"] is None and row["piqe"] is not None for row in without_hr)
    base = [row["reward"] for row in without_hr if row["model"] == "base"]
    # Only one base group without HR: its own best LR consistency is 1, its worst 0, so rewards lie in [0, 1].
    assert all(0.0 <= reward <= 1.0 for reward in base)


def test_images_with_and_without_hr_are_not_averaged(tmp_path: Path) -> None:
    """Their rewards are other formulas: full-reference metrics, or the consistency with the LR in their place."""
    root = build(tmp_path / "mixed", real_lr=True)
    run(settings(), root)
    found = Evaluation.read(root)
    _, rows = tables.read_any(root / "reports/evaluation.parquet")
    kinds = {has_hr: [row for row in rows if (row["psnr"] is not None) == has_hr] for has_hr in (True, False)}
    assert found.has_hr
    assert found.without_hr is not None
    for compared, kind in ((found, kinds[True]), (found.without_hr, kinds[False])):
        base, aligned = (
            {(row["lr_id"], row["index"]): row for row in kind if row["model"] == model}
            for model in ("base", "aligned")
        )
        assert (compared.images, compared.pairs) == (len({lr_id for lr_id, _ in base}), len(base))
        for name, row in compared.measures.items():
            assert row.base == pytest.approx(np.mean([values[name] for values in base.values()]))
            assert row.aligned == pytest.approx(np.mean([values[name] for values in aligned.values()]))
    assert {name for name, row in found.metrics.items() if row.in_reward} == {"gmsd", "piqe"}
    assert {name for name, row in found.without_hr.metrics.items() if row.in_reward} == {"lr_consistency", "piqe"}
    assert not {"gmsd", "psnr", "ssim"} & found.without_hr.metrics.keys()
    bicubic = [row["reward"] for row in kinds[True] if row["model"] == "bicubic"]
    assert found.peers["bicubic"]["reward"] == pytest.approx(np.mean(bicubic))
    assert found.headline.startswith("images with HR: reward ")
    assert "; images without HR: reward " in found.headline


def test_where_no_image_has_an_hr_the_figures_are_of_those_without(tmp_path: Path) -> None:
    root = build(tmp_path / "real", real_lr=True)
    path = root / "data/dataset.parquet"
    rows = tables.read_rows(path, tables.DATASET)
    tables.write_rows(path, tables.DATASET, [row | {"has_hr": False} for row in rows])
    run(settings(evaluate={"seeds": 1}), root)
    found = Evaluation.read(root)
    assert (found.has_hr, found.without_hr, found.images) == (False, None, 4)
    assert {name for name, row in found.metrics.items() if row.in_reward} == {"lr_consistency", "piqe"}
    assert found.anatomy.spread.base is None  # of one seed there is none


def test_more_metrics_reuse_the_restorations(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "encode_png", lambda image: pytest.fail("restored again"))
    more = settings(score={"held_out": ["psnr", "ssim", "vif"]})
    evaluator = Evaluator.load(more, finished)
    (bicubic,) = evaluator.peers()
    (measured,) = evaluator.measure(bicubic)
    assert "vif" in measured.measurements[0].values


def test_missing_inputs_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"dataset.parquet does not exist"):
        run(settings(), tmp_path)
    root = build(tmp_path / "untrained")
    shutil.rmtree(root / "models")
    with pytest.raises(BadInput, match=r"models/aligned/best does not exist; run train first"):
        run(settings(), root)
    with pytest.raises(BadInput, match="no image in the validation split"):
        Evaluator.load(settings(), root, split="validation")
