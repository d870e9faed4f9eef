"""The extra `fidelity`: what its packages compute, held to their own calls and to what the metrics must see."""

import io
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import skimage
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from components.artifacts.images import to_8bit, to_tensor
from components.errors import BadInput
from components.metrics.base import digest
from components.metrics.suite import Suite
from components.metrics.text_error import edits

NAMES = ("ssimulacra2", "vmaf", "text_error")
OCR = pytest.mark.skipif(sys.version_info >= (3, 13), reason="rapidocr-onnxruntime has wheels for 3.11 and 3.12")


@pytest.fixture(scope="module")
def page() -> NDArray[np.uint8]:
    """A corner of a printed page, `[128, 192, 3]`."""
    with Image.open(Path(str(skimage.__file__)).parent / "data/page.png") as opened:
        return np.asarray(opened.convert("RGB"))[:128, :192]


def blurred(image: NDArray[np.uint8], *sigmas: float) -> torch.Tensor:
    picture = Image.fromarray(image)
    return to_tensor(*(np.asarray(picture.filter(ImageFilter.GaussianBlur(sigma))) for sigma in sigmas))


def test_ssimulacra2_is_the_packages_own_for_pictures_of_all_scales(hr: torch.Tensor) -> None:
    from ssimulacra2 import compute_ssimulacra2  # noqa: PLC0415

    large = to_8bit(torch.cat([torch.cat([hr, hr.flip(3)], 3), torch.cat([hr.flip(2), hr.flip((2, 3))], 3)], 2))[0]
    worse = blurred(large, 1.0, 2.0)
    files = []
    for image in (large, *to_8bit(worse)):
        files.append(io.BytesIO())
        Image.fromarray(image).save(files[-1], "PNG")
    expected = []
    for file in files[1:]:
        files[0].seek(0)
        expected.append(compute_ssimulacra2(files[0], file))
    suite = Suite.load(["ssimulacra2"])
    found = suite.score(worse, to_tensor(large), None).values["ssimulacra2"]
    assert found == pytest.approx(expected, rel=1e-6)
    # A smaller one is continued by its mirror image, which this is of `hr`.
    small = suite.score(worse[:, :, :128, :128], hr, None).values["ssimulacra2"]
    assert small == pytest.approx(expected, abs=6.0)
    assert suite.score(hr, hr, None).values["ssimulacra2"].tolist() == [100.0]


def test_vmaf_gains_nothing_from_what_sharpens(hr: torch.Tensor) -> None:
    suite = Suite.load(["vmaf"])
    mean = hr.mean((2, 3), keepdim=True)
    stretched = [mean + gain * (hr - mean) for gain in (1.0, 1.2, 1.5)]
    values = suite.score(torch.cat(stretched).clamp(0, 1), hr, None).values["vmaf"]
    assert values[0] > 95
    assert (np.diff(values) < 0).all()
    alone = [suite.score(image.clamp(0, 1), hr, None).values["vmaf"][0] for image in stretched]
    assert values.tolist() == pytest.approx(alone, abs=1e-3)


@OCR
def test_letters_that_are_read_otherwise_are_counted(page: NDArray[np.uint8]) -> None:
    hr, suite = to_tensor(page), Suite.load(["text_error"])
    other = np.ascontiguousarray(page[:, ::-1])  # letters that look like letters, and are others
    found = suite.score(torch.cat([hr, blurred(page, 4.0), to_tensor(other)]), hr, None)
    same, unreadable, invented = found.values["text_error"]
    assert same == 0.0
    assert unreadable > 0.5
    assert invented > 0.5
    assert found.failures == []


@OCR
def test_a_picture_without_text_is_undefined_and_no_failure(hr: torch.Tensor, candidates: torch.Tensor) -> None:
    found = Suite.load(["text_error", "psnr"]).score(candidates, hr, None)
    assert np.isnan(found.values["text_error"]).all()
    assert np.isfinite(found.values["psnr"]).all()
    assert found.failures == []


@pytest.mark.parametrize(
    ("one", "other", "expected"), [("kitten", "sitting", 3), ("", "abc", 3), ("abc", "", 3), ("flaw", "lawn", 2)]
)
def test_edits_are_levenshteins(one: str, other: str, expected: int) -> None:
    assert edits(one, other) == edits(other, one) == expected


@pytest.mark.parametrize("name", NAMES)
def test_a_digest_names_the_packages_version(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "text_error" and sys.version_info >= (3, 13):
        pytest.skip("rapidocr-onnxruntime has wheels for 3.11 and 3.12")
    before, version = digest(name), metadata.version
    monkeypatch.setattr(metadata, "version", lambda package: f"{version(package)}.1")
    assert digest(name) != before


@pytest.mark.parametrize("name", NAMES)
def test_without_the_extra_it_is_refused_with_the_way_out(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(package: str) -> str:
        raise metadata.PackageNotFoundError(package)

    monkeypatch.setattr(metadata, "version", absent)
    with pytest.raises(BadInput, match=rf"metric {name} needs the package .*pip install 'dp2o-sr\[fidelity\]'"):
        digest(name)
