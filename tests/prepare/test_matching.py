"""Which LR belongs to which HR, by names as the sets have them."""

import pytest

from components.prepare.matching import Match, Name, in_one_folder, in_two_folders


@pytest.mark.parametrize(
    ("lr", "hr", "scene"),
    [
        ("Canon_001_LR4.png", "Canon_001_HR.png", "Canon_001"),  # RealSR
        ("Canon_001_LR4_s002.png", "Canon_001_HR_s002.png", "Canon_001"),  # its parts, as BasicSR cuts them
        ("sony_1_x1.png", "sony_1_x4.png", "sony_1"),  # DRealSR
        ("0801x4.png", "0801.png", "0801"),  # DIV2K
        ("LR/Nikon_001.png", "HR/Nikon_001.png", "Nikon_001"),
        ("test_LR/panasonic_7_x1.png", "test_HR/panasonic_7_x4.png", "test/panasonic_7"),
        ("a-lq.jpg", "a-gt.png", "a"),
        ("holiday/a.lr.png", "holiday/a.hr.png", "holiday/a"),
        ("LRbicx4/a.png", "LRbicx4/a.tif", "LRbicx4/a"),
    ],
)
def test_the_sets_own_names_pair(lr: str, hr: str, scene: str) -> None:
    assert in_two_folders([lr], [hr], str) == ([Match(lr, hr, scene)], [])


@pytest.mark.parametrize("name", ["box2.png", "color.png", "slr.png", "x.png", "shr.png", "a_x16.png", "lx4.png"])
def test_a_word_that_ends_like_a_mark_has_none(name: str) -> None:
    found = Name.of(name)
    assert (found.key, found.side, found.factor) == (name.removesuffix(".png"), "", 0)


def test_an_equal_name_comes_before_an_equal_key() -> None:
    matches, loose = in_two_folders(["a_x2.png", "a.png"], ["a.png", "a_x2.png"], str)
    assert [(match.lr, match.hr) for match in matches] == [("a_x2.png", "a_x2.png"), ("a.png", "a.png")]
    assert loose == []


def test_what_is_in_no_pair_says_why() -> None:
    matches, loose = in_two_folders(
        ["a_LR4.png", "a_LR2.png", "only_LR4.png", "b_LR4.png"], ["a_HR.png", "b_HR.png", "alone_HR.png"], str
    )
    assert [match.scene for match in matches] == ["b"]
    assert dict(loose) == {
        "a_LR4.png": "2 LR and 1 HR images are named a: which belong together is not known",
        "a_LR2.png": "2 LR and 1 HR images are named a: which belong together is not known",
        "a_HR.png": "1 HR and 2 LR images are named a: which belong together is not known",
        "only_LR4.png": "no HR image is named only",
        "alone_HR.png": "no LR image is named alone",
    }


def test_one_folder_tells_the_sides_apart_by_marks() -> None:
    names = ["Canon_001_HR.png", "Canon_001_LR4.png", "d_x1.png", "d_x4.png", "0801.png", "0801x4.png"]
    matches, loose = in_one_folder(names, str)
    assert [(match.lr, match.hr) for match in matches] == [
        ("Canon_001_LR4.png", "Canon_001_HR.png"),
        ("d_x1.png", "d_x4.png"),
        ("0801x4.png", "0801.png"),
    ]
    assert loose == []


def test_one_folder_sets_aside_what_no_mark_tells() -> None:
    names = ["a.png", "a.jpg", "b_HR.png", "c_LR2.png", "c_LR4.png", "c_HR.png", "d_HR.png", "d.png"]
    matches, loose = in_one_folder(names, str)
    assert matches == []
    assert [name for name, _ in loose] == names
    assert dict(loose)["b_HR.png"].startswith("no other file of the folder is named b with the mark")
    assert dict(loose)["c_HR.png"] == "3 files are named c, and their names do not say which is the LR and which the HR"
