"""Metrics with a gradient: the values of the scoring metric, and a step along the gradient raises them."""

import pytest
import torch

from components.artifacts.images import to_tensor
from components.errors import BadInput
from components.metrics.base import load
from components.metrics.gradients import differentiable, load_features, load_gradual
from components.metrics.table import Kind, info
from tests.made import photo

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def pictures() -> tuple[torch.Tensor, torch.Tensor]:
    """HR and two worse versions of it, 64 px."""
    import numpy as np  # noqa: PLC0415

    hr = to_tensor(photo(np.random.default_rng(0), 64))
    noise = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    return hr, (hr + 0.05 * noise).clamp(0.02, 0.98)


@pytest.mark.parametrize("name", ["psnr", "psnr_y", "stlpips", "rank_effnet"])
def test_values_are_the_metrics_own_and_the_gradient_leads_up(
    name: str, pictures: tuple[torch.Tensor, torch.Tensor]
) -> None:
    hr, worse = pictures
    images = worse.clone().requires_grad_(True)
    gradual = load_gradual(name, CPU)
    row = info(name)
    values = gradual(images, hr.expand_as(images) if row.kind is Kind.FR else None)
    metric = load(name)
    raw = metric(worse, metric.prepare(hr if row.kind is Kind.FR else None, None))
    assert torch.allclose(values, raw if row.higher_is_better else -raw, rtol=1e-3, atol=1e-3)
    (gradient,) = torch.autograd.grad(values.sum(), images)
    step = 1e-3 * gradient / gradient.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    with torch.no_grad():
        after = gradual(worse + step, hr.expand_as(worse) if row.kind is Kind.FR else None)
    # to first order the value rises by the gradient's norm times the step
    expected = 1e-3 * gradient.flatten(1).norm(dim=1)
    assert torch.allclose(after - values, expected, rtol=0.3, atol=1e-5)


def test_all_that_say_so_can_and_others_are_refused_with_those() -> None:
    assert set(differentiable()) == {"psnr", "psnr_y", "stlpips", "stlpips-vgg", "rank_effnet"}
    with pytest.raises(BadInput, match=r"metric rank_nss has no gradient here.*take one of psnr, psnr_y, stlpips"):
        load_gradual("rank_nss", CPU)


def test_an_fr_metric_without_hr_is_refused() -> None:
    with pytest.raises(BadInput, match="compares with the HR image"):
        load_gradual("psnr", CPU)(torch.rand(1, 3, 8, 8))


def test_feature_maps_are_those_that_the_metric_pools(pictures: tuple[torch.Tensor, torch.Tensor]) -> None:
    features = load_features(CPU)
    maps = features.maps(pictures[1])
    assert [layer.shape[1] for layer in maps] == [32, 16, 24, 40, 112]
    pooled = torch.cat([part for layer in maps for part in (layer.mean((2, 3)), layer.std((2, 3)))], dim=1)
    assert torch.equal(features(pictures[1]), pooled)
