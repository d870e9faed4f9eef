"""Figures worked out by hand, and the tables that print them."""

import csv
import io

import pytest

from components.benchmark.figures import ModelFigures, figures_of
from components.benchmark.layout import COLUMNS, comma_separated, latex, markdown
from components.benchmark.published import Published
from components.judge.measure import Measurement

CLUSTERS = {"a": "a", "b": "b", "c": "c"}


def model(name: str, shift: float = 0.0) -> ModelFigures:
    rows = [
        Measurement("a", 0, {"psnr_y": 20.0 + shift, "lpips-vgg": 0.2}),
        Measurement("a", 1, {"psnr_y": 24.0 + shift, "lpips-vgg": 0.4}),
        Measurement("b", 0, {"psnr_y": 30.0 + shift, "lpips-vgg": 0.1}),
        Measurement("b", 1, {"psnr_y": 30.0 + shift}),
        Measurement("c", 0, {"psnr_y": 25.0 + shift, "lpips-vgg": 0.5}),
        Measurement("c", 1, {"psnr_y": 21.0 + shift, "lpips-vgg": 0.3}),
    ]
    return figures_of(name, rows, ["psnr_y", "lpips-vgg", "musiq"], CLUSTERS, resamples=200, confidence=0.95, seed=0)


def test_figures_by_hand() -> None:
    found = model("base")
    assert (found.images, found.samples) == (3, 2)
    assert list(found.metrics) == ["psnr_y", "lpips-vgg"]  # no restoration has the third
    psnr, lpips = found.metrics["psnr_y"], found.metrics["lpips-vgg"]
    assert psnr.mean == pytest.approx(25.0)
    assert (psnr.best, psnr.worst) == pytest.approx(((24 + 30 + 25) / 3, (20 + 30 + 21) / 3))
    assert psnr.deviation == pytest.approx((8**0.5 + 0 + 8**0.5) / 3)
    assert psnr.low < 25.0 < psnr.high
    assert lpips.mean == pytest.approx((0.2 + 0.4 + 0.1 + 0.5 + 0.3) / 5)
    assert (lpips.best, lpips.worst) == pytest.approx(((0.2 + 0.1 + 0.3) / 3, (0.4 + 0.1 + 0.5) / 3))
    assert (psnr.missing, lpips.missing) == (0, 1)


AGAINST = {"base": Published("C-SD2", {"psnr_y": 23.61}, {"lpips-vgg": (0.416, 0.018)})}


def test_markdown_is_the_papers_layout() -> None:
    text = markdown("RealSR", [("protocol", "crop")], [model("base"), model("new", 1.0)], AGAINST)
    lines = text.splitlines()
    assert lines[:5] == ["# RealSR", "", "* protocol: crop", "", "| metric | base | new |"]
    assert lines[6].startswith("| PSNR ↑ | 25.00 (")
    assert "| **26.00 (" in lines[6]
    assert "| LPIPS ↓ | base | 2 | 0.2000 | 0.3000 | 0.3333 |" in text
    assert "| PSNR ↑ | base | 25.00 | C-SD2 | 23.61 | +1.39 |  |" in lines
    assert "2510.18851" in text


def test_latex_has_a_column_a_model_and_escapes_names() -> None:
    text = latex("RealSR", [model("base_1"), model("new", 1.0)], AGAINST | {"base_1": AGAINST["base"]})
    assert r"\begin{tabular}{lccc}" in text
    assert r"Metric & base\_1 & new & C-SD2 \\" in text
    assert r"PSNR $\uparrow$ & 25.00 & \textbf{26.00} & \textit{23.61} \\" in text
    assert r"LPIPS $\downarrow$ & \textbf{0.3000} & 0.3000 & -- \\" in text


def test_the_csv_has_every_figure() -> None:
    rows = list(csv.DictReader(io.StringIO(comma_separated([model("base")], AGAINST))))
    assert tuple(rows[0]) == COLUMNS
    assert [row["metric"] for row in rows] == ["psnr_y", "lpips-vgg"]
    assert float(rows[0]["difference"]) == pytest.approx(25.0 - 23.61)
    assert (rows[0]["published_column"], rows[0]["published"], rows[0]["published_mean"]) == ("C-SD2", "23.61", "")
    assert (rows[1]["published"], rows[1]["published_mean"], rows[1]["missing"]) == ("", "0.416", "1")
