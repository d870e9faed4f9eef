"""`evaluate.mixtures`: judged beside base and aligned, published, and read by everyone who reads the document."""

import json
from pathlib import Path

import pytest

from components.artifacts import tables
from components.artifacts.evaluation import Evaluation
from components.backbones.loading import SavedModel
from components.backbones.mixing import source_of
from components.evaluate.evaluator import Evaluator
from components.evaluate.stage import run
from components.judge.restorers import Models, Sampling, model_restorer, saved_restorer
from components.register.figures import evaluation_metrics
from components.report.mixtures import Mixtures
from components.settings import MixtureSettings, Settings
from tests.evaluate.project import build, settings

MIXTURES = [0, 0.5, 1, 1.5, {"power": 1}]


def mixing(**changes: object) -> Settings:
    return settings(evaluate={"mixtures": MIXTURES, **changes})


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = build(tmp_path_factory.mktemp("project"))
    run(mixing(), root)
    return root


def test_each_mixture_is_judged_against_the_base(finished: Path) -> None:
    evaluation = Evaluation.read(finished)
    found = evaluation.mixtures
    assert list(found) == ["strength 0", "strength 0.5", "strength 1", "strength 1.5", "strength 1, power 1"]
    assert [mixture.passes for mixture in found.values()] == [2, 4, 2, 4, 3]
    for name, row in found["strength 0"].measures.items():
        assert (row.difference, row.ci_low, row.ci_high) == (0.0, 0.0, 0.0), name
    for name, row in found["strength 1"].measures.items():
        aligned = evaluation.measures[name]
        assert (row.value, row.difference) == (aligned.aligned, aligned.difference)
        assert (row.ci_low, row.ci_high) == (aligned.ci_low, aligned.ci_high)
    _, rows = tables.read_any(finished / "reports/evaluation.parquet")
    psnr = [row["psnr"] for row in rows if row["model"] == "strength 0.5"]
    assert len(psnr) == 4 * 3
    assert found["strength 0.5"].measures["psnr"].value == pytest.approx(sum(psnr) / len(psnr))


def test_what_is_base_or_aligned_is_not_restored_again(finished: Path) -> None:
    _, rows = tables.read_any(finished / "reports/evaluation.parquet")
    assert {row["model"] for row in rows} == {
        "base", "aligned", "bicubic", "strength 0.5", "strength 1.5", "strength 1, power 1",
    }  # fmt: skip
    folders = list((finished / "cache/evaluate/restorations").iterdir())
    assert len(folders) == 6


def test_without_mixtures_the_document_is_as_before(finished: Path, tmp_path: Path) -> None:
    content = json.loads((finished / "reports/evaluation.json").read_text())
    plain = build(tmp_path / "plain")
    run(settings(), plain)
    before = json.loads((plain / "reports/evaluation.json").read_text())
    for name in content.pop("mixtures"):
        content["digests"].pop(name, None)
    assert content == before
    assert settings().model_dump()["evaluate"].keys() == mixing().model_dump()["evaluate"].keys() - {"mixtures"}


def test_a_saved_models_mixture_is_known_without_its_network(finished: Path) -> None:
    saved = SavedModel(settings().backbone.located(finished), "cpu", finished / "models/aligned/best")
    sampling = Sampling(2, 2, "none")
    half, own = source_of(MixtureSettings(strength=0.5)), Models()
    digest = saved_restorer("m", saved, half, sampling, own).digest
    assert own._loaded == {}
    assert digest == model_restorer("m", saved.load(), half, sampling).digest
    others = [saved_restorer("m", saved, source, sampling, own).digest for source in ("policy", "reference")]
    assert (
        len({digest, *others, saved_restorer("m", saved, source_of(MixtureSettings(power=1)), sampling, own).digest})
        == 4
    )


def test_the_report_and_mlflow_take_them(finished: Path) -> None:
    evaluation = Evaluation.read(finished)
    shown = Mixtures.of(evaluation)
    assert [chart.title for chart in shown.charts] == ["reward against psnr"]
    constant, annealed = shown.charts[0].series
    assert [mark.label for mark in constant.marks] == ["0", "0.5", "1", "1.5"]
    assert [mark.label for mark in annealed.marks] == ["p 1"]
    half = evaluation.mixtures["strength 0.5"].measures
    assert constant.points[1] == (half["psnr"].difference, half["reward"].difference)
    assert constant.marks[1].x == (half["psnr"].ci_low, half["psnr"].difference, half["psnr"].ci_high)
    assert [row.name for row in shown.rows] == list(evaluation.mixtures)
    assert shown.rows[0].cells[0] == ("0", "")
    assert evaluation_metrics(evaluation)["evaluation/mixtures/strength 0.5/measures/psnr/value"] == half["psnr"].value


def test_the_curve_is_drawn_with_its_intervals(finished: Path) -> None:
    svg = str(Mixtures.of(Evaluation.read(finished)).charts[0].svg)
    assert svg.count('<line class="interval aligned"') == 2 * 4
    assert svg.count('<line class="interval winner"') == 2
    assert ">0.5</text>" in svg


def test_without_them_the_report_says_nothing(finished: Path) -> None:
    plain = Evaluation.read(finished).model_copy(update={"mixtures": {}})
    assert Mixtures.of(plain).charts == []
    assert Mixtures.of(plain).rows == []


def test_the_same_mixture_twice_is_refused() -> None:
    with pytest.raises(ValueError, match=r"evaluate.mixtures names strength 1 more than once"):
        settings(evaluate={"mixtures": [1, {"strength": 1.0}]})


def test_the_evaluator_takes_a_mixture_of_a_loaded_model(finished: Path) -> None:
    evaluator = Evaluator.load(mixing(), finished)
    with evaluator.judge:
        saved = SavedModel(settings().backbone.located(finished), "cpu", finished / "models/aligned/best")
        half = source_of(MixtureSettings(strength=0.5))
        loaded, known = evaluator.model("half", saved.load(), half), evaluator.saved("half", saved, half)
    assert loaded.digest == known.digest
