"""A path that somebody else wrote down is a place within the folder, or an error."""

from pathlib import Path

import pytest

from components.errors import BadInput
from components.storage import places
from components.storage.dvc_hash import read_listing

OUTSIDE = ["../x", "a/../../x", "/etc/passwd", "", "a//b", "./a", "a/./b", "a/..", ".git/hooks/x", "a\\..\\b", "a\0b"]


@pytest.mark.parametrize("path", OUTSIDE)
def test_what_is_not_below_is_refused(path: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="the task names the path"):
        places.below(tmp_path, path, "the task")
    with pytest.raises(ValueError, match="path"):
        places.relative(path)


def test_a_link_on_the_way_leads_nowhere_else(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "out").symlink_to(tmp_path)
    (root / "in").symlink_to(root / "data")
    (root / "data").mkdir()
    with pytest.raises(BadInput, match="a link that leads out"):
        places.below(root, "out/x", "the task")
    assert places.below(root, "in/x", "the task") == root / "in/x"
    assert places.below(root, "data/new/x", "the task") == root / "data/new/x"


@pytest.mark.parametrize("path", OUTSIDE)
def test_a_listing_names_files_of_its_folder(path: str) -> None:
    import json  # noqa: PLC0415

    rows = [{"relpath": path, "md5": "0" * 32}]
    with pytest.raises(BadInput, match="the listing of data: path"):
        read_listing(json.dumps(rows).encode(), "the listing of data")


@pytest.mark.parametrize("content", [b"", b"{}}", b"[1]", b'[{"relpath": "a"}]', b'[{"relpath": "a", "md5": "../x"}]'])
def test_what_is_no_listing_is_said_so(content: bytes) -> None:
    with pytest.raises(BadInput, match="the listing of data"):
        read_listing(content, "the listing of data")
