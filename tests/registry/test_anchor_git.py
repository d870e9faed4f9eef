"""An anchor in git where there is no git; who is first is in tests/promote/test_history_attacks.py."""

from pathlib import Path

import pytest

from components.errors import BadInput
from components.registry.anchor import Anchored
from components.registry.anchor_git import GitAnchor


def test_without_git_the_way_out_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    anchor = GitAnchor("https://git.example.com/anchors.git", "history")
    monkeypatch.setenv("PATH", str(tmp_path))
    told = r"git\+https://git.example.com/anchors.git#history needs git, .* set gate.anchor to s3://"
    with pytest.raises(BadInput, match=told):
        anchor.read("sr")
    with pytest.raises(BadInput, match=told):
        anchor.write("sr", Anchored(1, "0"), None)
