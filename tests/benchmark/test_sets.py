"""The table of public sets, and the published figures: what they say, and what they refuse."""

import re
from pathlib import Path

import pytest

from components.benchmark.published import columns, heading, published, source
from components.benchmark.sets import load_sets, named
from components.errors import BadInput
from components.metrics.table import TABLE


def test_every_set_says_where_its_files_are_and_where_they_come_from() -> None:
    sets = load_sets()
    assert {"realsr", "drealsr", "reallq250", "reallr200", "realphoto60", "div2k-ours", "screensr"} <= sets.keys()
    for name, one in sets.items():
        assert one.name == name
        assert one.get
        assert one.sources
        assert all(part.named for layout in one.layouts for part in layout)


def test_what_is_not_verified_is_not_told() -> None:
    assert "number of images: see the set's page; licence: see the set's page" in named("screensr").about
    assert "200 images" in named("reallr200").about


def test_the_first_layout_that_is_there_is_taken(tmp_path: Path) -> None:
    for folder in ("RealSR(V3)/Canon/Test/4", "RealSR(V3)/Nikon/Test/4"):
        (tmp_path / folder).mkdir(parents=True)
    assert [part.lr for part in named("realsr").find(tmp_path)] == [
        "RealSR(V3)/Canon/Test/4",
        "RealSR(V3)/Nikon/Test/4",
    ]
    for side in ("test_LR", "test_HR"):
        (tmp_path / "RealSRVal_crop128" / side).mkdir(parents=True)
    assert [part.hr for part in named("realsr").find(tmp_path)] == ["RealSRVal_crop128/test_HR"]


def test_a_missing_set_says_where_people_get_it(tmp_path: Path) -> None:
    words = (
        r"does not hold RealLR200: its folders are RealLR200\. Nothing is downloaded: get it at github.com/cswry/SeeSR"
    )
    with pytest.raises(BadInput, match=words):
        named("reallr200").find(tmp_path)
    with pytest.raises(BadInput, match="there is no set 'set5'; name one of realsr, drealsr"):
        named("set5")


def test_the_published_figures_are_the_papers() -> None:
    """Spots of both tables, typed from the paper again."""
    assert "2510.18851" in source()
    aligned, base = published("realsr", "DP2O(SD2)"), published("realsr", "C-FLUX")
    assert aligned.table_1["lpips-vgg"] == 0.4045
    assert aligned.table_1["afine_nr"] == -1.1555
    assert aligned.table_1["ssim_y"] == 0.65
    assert base.table_1["psnr_y"] == 23.58
    assert base.table_2["musiq"] == (69.70, 2.15)
    assert published("realsr", "SeeSR").table_2 == {}
    assert len(columns("realsr")) == 10
    assert columns("drealsr") == []


def test_published_metrics_are_ours_by_name() -> None:
    for column in columns("realsr"):
        assert published("realsr", column).table_1.keys() <= TABLE.keys()
        assert len(published("realsr", column).table_1) == 13  # fourteen, but for VisualQuality-R1
    assert heading("maniqa-pipal") == "MANIQA"
    assert heading("stlpips") == "stlpips"


def test_a_column_that_the_paper_lacks_is_refused() -> None:
    with pytest.raises(BadInput, match=re.escape("no column 'SUPIR' for realsr; name one of StableSR, DiffBIRv2")):
        published("realsr", "SUPIR")
    with pytest.raises(BadInput, match="for drealsr; name one of the set realsr"):
        published("drealsr", "SeeSR")
