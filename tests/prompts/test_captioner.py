"""A real image-to-text model of transformers, tiny and random."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from components.errors import BadInput
from components.prompts.captioner import CaptionCache, Captioner
from components.storage.cache import CacheFolder
from tests.prompts.made import write_captioner

CPU = torch.device("cpu")


def picture(seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (12, 10, 3), dtype=np.uint8)


def test_captions_depend_on_the_picture_and_the_text(captioner_folder: Path) -> None:
    captioner = Captioner.load(captioner_folder, "", 6, CPU)
    texts = [captioner(picture(seed)) for seed in range(6)]
    assert len(set(texts)) > 1
    assert all(text == " ".join(text.split()) for text in texts)
    assert [captioner(picture(seed)) for seed in range(6)] == texts
    assert max(len(text.split()) for text in texts) <= 6
    begun = Captioner.load(captioner_folder, "a photo of", 6, CPU)
    assert begun(picture(0)).startswith("a photo of")
    assert begun.digest != captioner.digest


def test_each_picture_is_captioned_once(captioner_folder: Path, tmp_path: Path) -> None:
    captioner = Captioner.load(captioner_folder, "", 6, CPU)
    cache = CaptionCache(captioner, CacheFolder(tmp_path))
    texts = [cache(picture(seed)) for seed in (0, 1, 0)]
    assert (texts[0], cache.made) == (texts[2], 2)
    again = CaptionCache(captioner, CacheFolder(tmp_path))
    assert [again(picture(seed)) for seed in (0, 1)] == texts[:2]
    assert again.made == 0
    for path in tmp_path.rglob("*.json"):
        path.write_text("{")
    assert (again(picture(0)), again.made) == (texts[0], 1)


def test_another_model_does_not_find_them(captioner_folder: Path, tmp_path: Path) -> None:
    write_captioner(tmp_path / "other", seed=1)
    for number, folder in enumerate((captioner_folder, tmp_path / "other")):
        cache = CaptionCache(Captioner.load(folder, "", 6, CPU), CacheFolder(tmp_path))
        cache(picture(0))
        assert cache.made == 1, number


def test_code_that_a_model_brings_is_not_run_and_nobody_is_asked(
    captioner_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "theirs"
    shutil.copytree(captioner_folder, folder)
    (folder / "theirs.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\nclass Theirs: pass\n")
    for name in ("config.json", "processor_config.json", "preprocessor_config.json", "tokenizer_config.json"):
        if (folder / name).exists():
            plain = json.loads((folder / name).read_text())
            kinds = ("AutoConfig", "AutoProcessor", "AutoModelForImageTextToText")
            plain |= {"model_type": "theirs", "auto_map": dict.fromkeys(kinds, "theirs.Theirs")}
            (folder / name).write_text(json.dumps(plain))
    asked: list[str] = []
    monkeypatch.setattr("builtins.input", lambda question="": asked.append(question) or "y")
    with pytest.raises(BadInput, match=r"prepare\.prompt\.model"):
        Captioner.load(folder, "", 6, CPU)
    assert not asked
    assert not (tmp_path / "ran").exists()


def test_what_is_no_captioner_is_refused(captioner_folder: Path, tiny_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=rf"prepare\.prompt\.model: {tiny_folder} is no image-to-text model"):
        Captioner.load(tiny_folder, "", 6, CPU)
    shutil.copytree(captioner_folder, tmp_path / "cut")
    (tmp_path / "cut/model.safetensors").write_bytes(b"cut")
    with pytest.raises(BadInput, match=r"cut is no image-to-text model that can be read here"):
        Captioner.load(tmp_path / "cut", "", 6, CPU)
