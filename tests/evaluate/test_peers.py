import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from skimage import data, metrics

from components.artifacts.images import to_8bit, to_tensor
from components.backbones.restorers import restorer
from components.errors import BadInput
from components.evaluate import peers
from components.evaluate.peers import load_peer

CPU = torch.device("cpu")


def installed() -> bool:
    try:
        for name in restorer.SHIPPED:
            restorer.files_of(name, Path())
    except BadInput:
        return False
    return True


needs_package = pytest.mark.skipif(
    not installed() and "CI" not in os.environ,  # CI installs it: missing there is a failure
    reason=f"Real-ESRGAN was NOT checked: package {restorer.PACKAGE} is not installed (make install brings it)",
)


def test_bicubic_keeps_a_constant_image_and_the_range() -> None:
    peer = load_peer("bicubic", 4, CPU)
    torch.testing.assert_close(peer.restore(torch.full((1, 3, 8, 8), 0.25)), torch.full((1, 3, 32, 32), 0.25))
    edges = peer.restore(torch.eye(8).expand(1, 3, 8, 8))
    assert edges.min() >= 0.0
    assert edges.max() <= 1.0


@needs_package
@pytest.mark.parametrize(("name", "weights"), [("realesr_animevideo", 621_424), ("realesrgan", 16_697_987)])
def test_real_esrgan_restores_a_photo(name: str, weights: int) -> None:
    """All weights are read, and on a clean photo the result is the photo, sharper than bicubic makes it."""
    peer = load_peer(name, 4, CPU)
    photo = to_tensor(np.ascontiguousarray(data.chelsea()[100:196, 120:216]))
    lr = F.interpolate(photo, scale_factor=0.25, mode="bicubic", antialias=True).clamp(0, 1)
    restored, enlarged = peer.restore(lr), peers.bicubic(lr, 4)
    assert restored.shape == photo.shape
    network = restorer.load_restorer(peers.REALESRGAN[name], Path(), CPU).network
    assert sum(parameter.numel() for parameter in network.parameters()) == weights
    assert metrics.peak_signal_noise_ratio(to_8bit(photo)[0], to_8bit(restored)[0]) > 22.0
    assert _edges(restored) > 1.15 * _edges(enlarged)
    assert (restored.mean(dim=(2, 3)) - photo.mean(dim=(2, 3))).abs().max() < 0.03, "colours moved: channels swapped?"


def _edges(image: torch.Tensor) -> float:
    return float(image.diff(dim=-1).abs().mean())


def test_bad_peers_are_refused_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInput, match="no peer 'esrgan'; the peers are bicubic, realesrgan"):
        load_peer("esrgan", 4, CPU)
    with pytest.raises(BadInput, match=r"realesrgan enlarges by 4, prepare.scale is 2"):
        load_peer("realesrgan", 2, CPU)
    absent = tuple(replace(file, package="no-such-package-here") for file in restorer.SHIPPED["realesrgan-x4plus"])
    monkeypatch.setitem(restorer.SHIPPED, "realesrgan-x4plus", absent)
    with pytest.raises(BadInput, match="package no-such-package-here is not there"):
        load_peer("realesrgan", 4, CPU)
