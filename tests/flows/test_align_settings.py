"""Options of a run that cannot work are refused before anything runs."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from components.errors import BadInput
from flows.launchers.base import Work
from flows.launchers.local import LocalLauncher
from flows.options import AlignSettings, own_templates


def test_several_nodes_are_a_clusters(tmp_path: Path) -> None:
    chosen = AlignSettings.model_validate({"launcher": {"kind": "kubernetes", "image": "i"}, "train_nodes": 2})
    assert chosen.train_nodes == 2
    with pytest.raises(ValidationError, match="the local launcher has one machine"):
        AlignSettings(train_nodes=2)
    with LocalLauncher(tmp_path, gpus=()) as launcher, pytest.raises(BadInput, match="train wants 2 nodes"):
        launcher.submit(Work("run", "train", "whole", 0, ("components.train",), nodes=2))


def test_the_clusters_own_templates_are_found_by_stage(tmp_path: Path) -> None:
    for name in ("stage-job.yaml", "train-job.yaml", "other-job.yaml", "train.yaml"):
        (tmp_path / name).touch()
    assert own_templates(tmp_path) == {"train": tmp_path / "train-job.yaml"}
    assert own_templates(tmp_path / "none") == {}
