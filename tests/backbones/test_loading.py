"""Where a backbone's files are looked for."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from diffusers import ControlNetModel

from components.backbones.controlnet import pretrained
from components.backbones.loading import load_backbone
from components.errors import BadInput
from components.prompts.captioner import Captioner
from components.settings import SD2ControlNetSettings
from components.storage import hub
from tests.made import REPOSITORY, write_params

HUB = Path("hf://owner/name@0123abc")


@pytest.mark.parametrize("name", ["name", "owner/name", "weights/control.safetensors", "/elsewhere/name", "a/b/c"])
def test_a_path_is_a_path_whether_it_is_there_or_not(tmp_path: Path, name: str) -> None:
    assert hub.source(Path(name), tmp_path) == tmp_path / name
    assert hub.folder(tmp_path / name, "backbone.base") == tmp_path / name


def test_a_model_of_the_hub_is_named_as_people_write_it(tmp_path: Path) -> None:
    assert hub.source(HUB, tmp_path) == HUB
    assert hub.shown(HUB) == "hf://owner/name@0123abc"
    assert hub.bare_name(HUB) == "name"


@pytest.mark.parametrize("name", ["hf://name", "hf://a/b/c", "hf://../x", "hf://a/b@../c", "hf://--x/b"])
def test_what_is_no_model_of_the_hub_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: pytest.fail("the hub was asked"))
    with pytest.raises(BadInput, match=r"backbone\.base: hf://.* write hf://owner/name@revision"):
        hub.folder(Path(name), "backbone.base")


@pytest.mark.parametrize(("variable", "asks"), [(None, False), ("1", False), ("0", True)])
def test_the_hub_is_asked_only_where_somebody_says_so(
    variable: str | None, asks: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    if variable is not None:
        monkeypatch.setenv("HF_HUB_OFFLINE", variable)
    calls: list[dict[str, object]] = []

    def download(name: str, **given: object) -> str:
        calls.append({"name": name, **given})
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert hub.folder(HUB, "backbone.path") == tmp_path
    (call,) = calls
    assert (call["name"], call["revision"], call["local_files_only"]) == ("owner/name", "0123abc", not asks)


def test_a_missing_folder_is_asked_of_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What looks like a hub id, with a token that would go along."""
    monkeypatch.setenv("HF_TOKEN", "hf_0123456789")
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)

    def asked(*_: object, **__: object) -> object:
        raise AssertionError("somebody was asked")

    monkeypatch.setattr("socket.create_connection", asked)
    monkeypatch.setattr("socket.getaddrinfo", asked)
    settings = write_params(
        tmp_path,
        backbone={"family": "sd2_controlnet", "path": "models/mine", "base": "company/secret-project", "steps": 1}
        | {"guidance_scale": 1.0, "colour_fix": "none"},
    )
    with pytest.raises(BadInput, match=r"backbone\.base: .*company/secret-project is no folder; give"):
        load_backbone(settings, tmp_path, torch.device("cpu"))
    with pytest.raises(BadInput, match="is no image-to-text model"):
        Captioner.load(tmp_path / "company/tagger", "", 5, torch.device("cpu"))
    with pytest.raises(BadInput, match="there is no folder"):
        pretrained.read_model(ControlNetModel, tmp_path / "company/control", "backbone.path", torch.float32)


def test_both_parts_are_located(tmp_path: Path) -> None:
    (tmp_path / "control").mkdir()
    settings = SD2ControlNetSettings(
        family="sd2_controlnet",
        path=Path("control"),
        base=Path("hf://owner/sd2@main"),
        steps=2,
        guidance_scale=1.0,
        colour_fix="none",
    )
    found = settings.located(tmp_path)
    assert isinstance(found, SD2ControlNetSettings)
    assert (found.path, found.base) == (tmp_path / "control", Path("hf://owner/sd2@main"))


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    settings = write_params(tmp_path, backbone={"path": "nowhere"})
    with pytest.raises(BadInput, match=f"{tmp_path}/nowhere"):
        load_backbone(settings, tmp_path, torch.device("cpu"))


def test_families_are_imported_when_they_are_asked_for() -> None:
    code = "import sys, components.backbones.loading; print([m for m in sys.modules if m in ('torch', 'diffusers')])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=300
    )
    assert done.stdout.strip() == "[]"
