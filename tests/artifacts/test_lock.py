"""What a dvc.lock says, on one written by hand."""

from typing import Any

import pytest
import yaml

from components.artifacts.lock import Item, Lock
from components.errors import BadInput

LOCK: dict[str, Any] = {
    "schema": "2.0",
    "stages": {
        "register": {"cmd": "r", "deps": [{"path": "models/aligned", "md5": "m.dir"}], "outs": [{"path": "card"}]},
        "train": {
            "cmd": "t",
            "deps": [{"path": "data/pairs.parquet", "md5": "p"}, {"path": "data/candidates", "md5": "c.dir"}],
            "outs": [{"path": "models/aligned", "md5": "m.dir", "size": 20, "nfiles": 2}],
        },
        "pair": {
            "cmd": "p",
            "deps": [{"path": "data/scores.parquet", "md5": "s"}],
            "outs": [{"path": "data/pairs.parquet", "md5": "p", "size": 3}],
        },
        "score": {
            "cmd": "s",
            "deps": [{"path": "data/candidates", "md5": "c.dir"}],
            "outs": [{"path": "data/scores.parquet", "md5": "s", "size": 4}],
        },
        "generate": {
            "cmd": "g",
            "deps": [{"path": "data/photos", "md5": "f.dir", "size": 9, "nfiles": 36}],
            "outs": [{"path": "data/candidates", "md5": "c.dir", "size": 5, "nfiles": 4}],
        },
    },
}


def test_each_step_comes_after_those_that_use_what_it_made() -> None:
    found = [step.stage for step in Lock.parse(yaml.safe_dump(LOCK)).leading_to("models/aligned")]
    assert found == ["train", "pair", "score", "generate"]  # candidates are used by two
    assert Lock.parse(yaml.safe_dump(LOCK)).leading_to("data/photos") == []


def test_what_is_not_written_is_not_made_up() -> None:
    generate = next(step for step in Lock(LOCK["stages"]).steps if step.stage == "generate")
    assert generate.inputs == (Item("data/photos", "f.dir", 9, 36),)
    register = next(step for step in Lock(LOCK["stages"]).steps if step.stage == "register")
    assert register.outputs == (Item("card", "", 0, 1),)
    assert Lock.parse("").steps == []


def test_a_digest_leaves_out_what_is_named() -> None:
    without = Lock({name: entry for name, entry in LOCK["stages"].items() if name != "register"})
    assert Lock(LOCK["stages"]).digest(without=("register",)) == without.digest() != Lock(LOCK["stages"]).digest()


def test_an_output_is_found_by_its_path() -> None:
    assert Lock(LOCK["stages"]).output("data/pairs.parquet") == Item("data/pairs.parquet", "p", 3, 1)
    assert Lock(LOCK["stages"]).output("data/photos") is None  # no stage makes it


@pytest.mark.parametrize("text", ["{", "- a", "stages: [a]", "stages: {pair: x}"])
def test_what_is_no_lock_is_named(text: str) -> None:
    with pytest.raises(BadInput, match=r"(?s)dvc\.lock of abc is damaged.*restore it with git"):
        Lock.parse(text, "dvc.lock of abc")
