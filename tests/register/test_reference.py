"""A version that is stored with its base: whoever loads or serves it can mix the two."""

import base64
import shutil
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
from mlflow.exceptions import MlflowException
from numpy.typing import NDArray
from skimage import data

from components.artifacts import paths
from components.artifacts.shards import decode_png, encode_png
from components.errors import BadInput
from components.register import stage
from components.registry.models import load_upscaler
from components.registry.tracking import tracking_uri
from components.settings import MixtureSettings, load_settings
from components.upscale.upscaler import Upscaler
from tests.register.project import make_project, with_base

PHOTO = data.astronaut()[:20, 100:130].copy()
ROW = pd.DataFrame({"image": [base64.b64encode(encode_png(PHOTO)).decode()], "seed": [3]})
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Path:
    root = tmp_path_factory.mktemp("project")
    shutil.copy(empty_database, root / "mlflow.db")
    make_project(root)
    stage.run(with_base(root, reference=False), root)
    stage.run(with_base(root, reference=True), root)
    return root


def picture(answer: pd.DataFrame) -> NDArray[np.uint8]:
    return decode_png(base64.b64decode(answer["image"][0]))


def test_the_same_result_with_its_base_is_another_version(root: Path) -> None:
    mlflow.set_tracking_uri(tracking_uri(load_settings(root / "params.yaml").register_, root))
    client = mlflow.MlflowClient()
    assert int(client.get_model_version_by_alias("test-model", "candidate").version) == 2
    tags = [client.get_model_version("test-model", str(number)).tags for number in (1, 2)]
    assert tags[0]["dp2o.model"] == tags[1]["dp2o.model"]
    assert tags[0]["dp2o.params"] != tags[1]["dp2o.params"]


def test_it_is_loaded_with_both(root: Path) -> None:
    settings = load_settings(root / "params.yaml")
    both = load_upscaler(settings, root, "models:/test-model/2", {})
    located = settings.backbone.located(root)
    base, aligned = (Upscaler.load(root / folder, located, CPU) for folder in ("base", paths.BEST))
    assert both.digest == aligned.digest
    assert np.array_equal(both(PHOTO, 3), aligned(PHOTO, 3))
    assert np.array_equal(both(PHOTO, 3, mixture=MixtureSettings(strength=0.0)), base(PHOTO, 3))
    with pytest.raises(BadInput, match=r"register\.reference"):
        load_upscaler(settings, root, "models:/test-model/1", {})(PHOTO, 3, mixture=MixtureSettings(strength=0.0))


def test_a_served_version_takes_the_mixture_as_a_parameter(root: Path) -> None:
    settings = load_settings(root / "params.yaml")
    mlflow.set_tracking_uri(tracking_uri(settings.register_, root))
    both = load_upscaler(settings, root, "models:/test-model/2", {})
    served = mlflow.pyfunc.load_model("models:/test-model/2")
    assert [param.name for param in served.metadata.signature.params] == ["strength", "power", "start", "preference"]
    assert np.array_equal(picture(served.predict(ROW)), both(PHOTO, 3))
    for params in ({"strength": 0.0}, {"strength": 0.5}, {"strength": 1.5}, {"power": 2.0}, {"start": 0.5}):
        wanted = both(PHOTO, 3, mixture=MixtureSettings(**params))
        assert np.array_equal(picture(served.predict(ROW, params=params)), wanted), params
    for params, why in (
        ({"strength": 3.0}, "params.strength is 3.0"),
        ({"power": float("nan")}, "params.power is nan"),
        ({"preference": 2.0}, "params.preference is 2.0"),
        ({"preference": 0.5}, "row 0: preference 0.5 is for a model with a dial"),
    ):
        with pytest.raises(MlflowException, match=why) as raised:
            served.predict(ROW, params=params)
        assert raised.value.get_http_status_code() == 400


def test_a_served_version_without_its_base_refuses_with_400(root: Path) -> None:
    mlflow.set_tracking_uri(tracking_uri(load_settings(root / "params.yaml").register_, root))
    served = mlflow.pyfunc.load_model("models:/test-model/1")
    with pytest.raises(MlflowException, match=r"row 0: strength 0.5 mixes .* register.reference") as raised:
        served.predict(ROW, params={"strength": 0.5})
    assert raised.value.get_http_status_code() == 400
