import json
import logging
from pathlib import Path

import pytest
import torch

from components.storage import digests
from components.storage.cache import CacheFolder
from components.storage.store import Store
from components.train import checkpoints
from components.train.checkpoints import TrainingState


def state(step: int) -> TrainingState:
    return TrainingState(
        step,
        {"weight": torch.full((3,), float(step))},
        {"state": {0: {"exp_avg": torch.ones(3), "step": torch.tensor(float(step))}}, "param_groups": [{"lr": 1e-5}]},
        log=[{"step": step, "loss": 0.5, "policy_loser": float("nan")}],
        validation=[{"step": 0, "reward": 0.25}],
        best_step=0,
        best_reward=0.25,
        best_policy={"weight": torch.zeros(3)},
    )


def test_everything_comes_back(tmp_path: Path) -> None:
    assert checkpoints.newest(CacheFolder(tmp_path / "none")) is None
    checkpoints.save(CacheFolder(tmp_path), state(7))
    found = checkpoints.newest(CacheFolder(tmp_path))
    assert found is not None
    assert vars(found).keys() == vars(state(7)).keys()
    assert (found.step, found.best_step, found.best_reward) == (7, 0, 0.25)
    assert torch.equal(found.policy["weight"], torch.full((3,), 7.0))
    assert torch.equal(found.optimizer["state"][0]["exp_avg"], torch.ones(3))
    assert found.log[0]["loss"] == 0.5
    assert found.validation == [{"step": 0, "reward": 0.25}]


def test_the_newest_two_are_kept_and_leftovers_of_kills_go(tmp_path: Path) -> None:
    (tmp_path / ".step-0000002.x1y2").mkdir()
    for step in (2, 4, 10):
        checkpoints.save(CacheFolder(tmp_path), state(step))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-0000004", "step-0000010"]


@pytest.mark.parametrize("file", ["state.pt", "manifest.json"])
@pytest.mark.parametrize("how", ["cut", "altered", "removed"])
def test_a_damaged_newest_falls_back(tmp_path: Path, file: str, how: str, caplog: pytest.LogCaptureFixture) -> None:
    for step in (4, 10):
        checkpoints.save(CacheFolder(tmp_path), state(step))
    path = tmp_path / "step-0000010" / file
    content = path.read_bytes()
    if how == "removed":
        path.unlink()
    else:
        path.write_bytes(content[: len(content) // 2] if how == "cut" else content.replace(b"a", b"b", 1))
    with caplog.at_level(logging.WARNING, "dp2o.train"):
        found = checkpoints.newest(CacheFolder(tmp_path))
    assert found is not None
    assert found.step == 4
    assert "step-0000010 is damaged; falling back" in caplog.text
    checkpoints.save(CacheFolder(tmp_path), state(10))  # training comes by the same step again
    again = checkpoints.newest(CacheFolder(tmp_path))
    assert again is not None
    assert again.step == 10


def test_all_damaged_is_none(tmp_path: Path) -> None:
    checkpoints.save(CacheFolder(tmp_path), state(4))
    (tmp_path / "step-0000004/state.pt").write_bytes(b"")
    assert checkpoints.newest(CacheFolder(tmp_path)) is None


@pytest.mark.parametrize("file", ["state.pt", "manifest.json"])
@pytest.mark.parametrize("content", [b"", b"{}", b"damaged"])
def test_a_copy_that_machines_share_stands_in_for_a_damaged_one(tmp_path: Path, file: str, content: bytes) -> None:
    cache = CacheFolder(tmp_path / "cache", Store(f"file://{tmp_path}/store"))
    for step in (4, 10):
        checkpoints.save(cache, state(step))
    (tmp_path / "cache/step-0000010" / file).write_bytes(content)
    found = checkpoints.newest(cache)
    assert found is not None
    assert found.step == 10
    # and where that copy is damaged as well, the one before
    for place in (tmp_path / "cache", tmp_path / "store/dp2o/cache"):
        (place / "step-0000010" / file).write_bytes(content)
    found = checkpoints.newest(cache)
    assert found is not None
    assert found.step == 4


def whole(sha256: object, step: object = 10) -> bytes:
    return json.dumps({"step": step, "sha256": sha256}).encode()


@pytest.mark.parametrize("content", [b"[]", b"7", b"null", b'"x"', b"{}", whole(7), whole([]), whole({}), b"\xff"])
def test_a_manifest_of_another_kind_falls_back(tmp_path: Path, content: bytes) -> None:
    for step in (4, 10):
        checkpoints.save(CacheFolder(tmp_path), state(step))
    (tmp_path / "step-0000010/manifest.json").write_bytes(content)
    found = checkpoints.newest(CacheFolder(tmp_path))
    assert found is not None
    assert found.step == 4


@pytest.mark.parametrize(
    "saved",
    [
        [],
        7,
        {"step": 10},
        {"step": 10, "policy": {}, "optimizer": {}, "other": 1},
        {"step": "10", "policy": {}, "optimizer": {}},
        {"step": 10, "policy": [], "optimizer": {}},
        b"no zip",
    ],
)
def test_a_state_of_another_kind_falls_back_whatever_its_digest(tmp_path: Path, saved: object) -> None:
    for step in (4, 10):
        checkpoints.save(CacheFolder(tmp_path), state(step))
    path = tmp_path / "step-0000010/state.pt"
    if isinstance(saved, bytes):
        path.write_bytes(saved)
    else:
        torch.save(saved, path)
    (tmp_path / "step-0000010/manifest.json").write_bytes(whole(digests.of_file(path)))
    found = checkpoints.newest(CacheFolder(tmp_path))
    assert found is not None
    assert found.step == 4
