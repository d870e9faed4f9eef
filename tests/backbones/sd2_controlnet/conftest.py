"""Tiny Stable Diffusions, written once."""

import pytest

from tests.backbones.sd2_controlnet.rig import Folders
from tests.backbones.tiny_pipelines import SD1


@pytest.fixture(scope="session")
def sd2(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    return Folders(tmp_path_factory.mktemp("sd2"))


@pytest.fixture(scope="session")
def sd1_v(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """SD 1.x's kind of network, predicting v, its noise levels spaced otherwise."""
    root = tmp_path_factory.mktemp("sd1_v")
    return Folders(root, network=SD1, prediction_type="v_prediction", timestep_spacing="trailing")
