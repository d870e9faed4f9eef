"""Resizing as convolutions against torch's own."""

import pytest
import torch
import torch.nn.functional as F

from components.errors import BadInput
from components.export.resizes import AsConvolutions, enlarged, reduced


@pytest.mark.parametrize("factor", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(5, 9), (16, 7)])
def test_both_directions_are_torchs(factor: int, size: tuple[int, int]) -> None:
    image = torch.rand(1, 3, *size, generator=torch.manual_seed(0))
    larger = F.interpolate(image, scale_factor=factor, mode="bicubic", align_corners=False)
    assert torch.allclose(enlarged(image, factor), larger, atol=1e-5)
    wide = torch.rand(1, 3, *(factor * side for side in size))
    smaller = F.interpolate(wide, size=size, mode="bicubic", antialias=True, align_corners=False)
    assert torch.allclose(reduced(wide, factor), smaller, atol=1e-5)


def test_within_the_mode_bicubic_is_replaced_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(F, "conv2d", lambda *args, found=F.conv2d, **kwargs: calls.append(1) or found(*args, **kwargs))
    image = torch.rand(1, 3, 8, 8)
    with AsConvolutions():
        F.interpolate(image, scale_factor=2, mode="nearest")
        assert not calls
        F.interpolate(image, scale_factor=2, mode="bicubic")
        F.interpolate(image, size=(4, 4), mode="bicubic", antialias=True)
    assert len(calls) == 3
    with AsConvolutions(), pytest.raises(BadInput, match=r"resizes by 1\.5, and only whole factors"):
        F.interpolate(image, size=(12, 12), mode="bicubic")
