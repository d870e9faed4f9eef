"""Every metric that runs from packaged weights: values, equality with pyiqa, independence of batches."""

from typing import Any

import pyiqa
import pytest
import torch

from components.errors import BadInput
from components.metrics.base import digest, load
from components.metrics.suite import Suite
from components.metrics.table import TABLE, Kind
from components.metrics.through_pyiqa import network
from components.metrics.weights import weights_folder

CPU = torch.device("cpu")
STORED = {
    "psnr": [80.0, 34.1366, 26.2482, 20.4073, 25.2463],
    "ssim": [1.0, 0.9547, 0.8076, 0.5861, 0.7877],
    "gmsd": [0.0, 0.0062, 0.0309, 0.0786, 0.0995],
    "vif": [1.0, 0.8479, 0.587, 0.3767, 0.2903],
    "fsim": [1.0, 0.9782, 0.9034, 0.7785, 0.8552],
    "stlpips": [0.0, 0.0141, 0.1602, 0.4255, 0.3856],
    "stlpips-vgg": [0.0, 0.0702, 0.2824, 0.6512, 0.446],
    "niqe": [9.8371, 10.7907, 15.0047, 20.665, 19.0618],
    "brisque": [12.7356, 9.5325, 23.0774, 56.2993, 56.6986],
    "piqe": [37.3414, 11.9882, 23.817, 51.7807, 90.285],
    "rank_effnet": [28.8116, 21.1987, 8.7941, -10.6335, 5.7024],
    "rank_nss": [-4.2147, -6.7657, -14.424, -22.7282, -21.6794],
    "lr_consistency": [80.0, 47.6338, 39.4568, 33.259, 36.7081],
}
"""Raw values of the five candidates of the fixture, stored when each had been checked against pyiqa."""
TOLERANCE = {
    "psnr": 0.05,
    "niqe": 0.1,
    "brisque": 0.5,
    "piqe": 1.0,
    "lr_consistency": 0.05,
    "rank_effnet": 1.0,
    "rank_nss": 0.5,
}
"""Absolute; covers another JPEG decoder and another CPU. 0.003 for the metrics that live in [0, 1]."""


def rounding(name: str) -> float:
    """What two orders of the same float32 sums may differ by: a thousandth of the metric's range over the candidates.

    A metric is a few hundred roundings of 6e-8 deep, some of them times ten: a hundredth of this bound. BRISQUE alone
    comes near it, as its features jump between the entries of a table. Mixed up images differ by the range itself.
    """
    return 1e-3 * (max(STORED[name]) - min(STORED[name]))


@pytest.mark.parametrize("name", STORED)
def test_stored_values(name: str, hr: torch.Tensor, lr: torch.Tensor, candidates: torch.Tensor) -> None:
    metric = load(name)
    values = metric(candidates, metric.prepare(hr, lr))
    assert values.dtype == torch.float32
    torch.testing.assert_close(values, torch.tensor(STORED[name]), rtol=0, atol=TOLERANCE.get(name, 0.003))


@pytest.mark.parametrize("name", [name for name in STORED if TABLE[name].pyiqa_name])
def test_equals_pyiqa_one_image_at_a_time(name: str, hr: torch.Tensor, candidates: torch.Tensor) -> None:
    net: Any = network(TABLE[name], CPU, weights_folder())
    beside = [hr.clone()] if TABLE[name].kind is Kind.FR else []
    singles = [net(image[None].clone(), *beside).reshape(1).float() for image in candidates]
    metric = load(name)
    values = metric(candidates, metric.prepare(hr, None))
    torch.testing.assert_close(values, torch.cat(singles), rtol=0, atol=rounding(name))


@pytest.mark.parametrize(("name", "of_pyiqa"), [("psnr_y", "psnr"), ("ssim_y", "ssim")])
def test_the_papers_protocol_is_pyiqas_y_of_ycbcr(
    name: str, of_pyiqa: str, hr: torch.Tensor, candidates: torch.Tensor
) -> None:
    net: Any = pyiqa.create_metric(of_pyiqa, test_y_channel=True, color_space="ycbcr", device=CPU)
    metric = load(name)
    values = metric(candidates, metric.prepare(hr, None))
    torch.testing.assert_close(
        values, net(candidates, hr.expand_as(candidates)).reshape(-1).float(), rtol=0, atol=rounding(of_pyiqa)
    )
    plain = load(of_pyiqa)
    assert (values - plain(candidates, plain.prepare(hr, None)))[1:].abs().min() > 1e-4


def test_batches_do_not_change_scores(hr: torch.Tensor, lr: torch.Tensor, candidates: torch.Tensor) -> None:
    suite = Suite.load(list(STORED))
    before = candidates.clone()
    whole = suite.score(candidates, hr, lr)
    torch.testing.assert_close(candidates, before, rtol=0, atol=0)
    parts = suite.score(candidates, hr, lr, batch=2)
    for name, values in whole.values.items():
        torch.testing.assert_close(
            torch.from_numpy(parts.values[name]), torch.from_numpy(values), rtol=0, atol=rounding(name), msg=name
        )


def test_the_best_candidate_is_the_hr(hr: torch.Tensor, lr: torch.Tensor, candidates: torch.Tensor) -> None:
    """FR metrics and LR consistency, whatever their direction, put the HR image itself first."""
    suite = Suite.load([name for name in STORED if TABLE[name].kind is not Kind.NR])
    for name, values in suite.score(candidates, hr, lr).values.items():
        best = values.argmax() if TABLE[name].higher_is_better else values.argmin()
        assert best == 0, name


def test_wrong_sizes_are_named(hr: torch.Tensor, candidates: torch.Tensor) -> None:
    metric = load("psnr")
    with pytest.raises(BadInput, match="candidates are 64 x 128 px, the HR image is 128 x 128"):
        metric(candidates[..., :64], metric.prepare(hr, None))
    with pytest.raises(BadInput, match="psnr compares with the HR image, and there is none"):
        metric.prepare(None, None)
    niqe = load("niqe")
    with pytest.raises(BadInput, match="niqe needs images of at least 96 px, these are 64 x 128"):
        niqe(candidates[..., :64], niqe.prepare(None, None))


def test_digests_tell_metrics_apart_and_repeat() -> None:
    names = ["stlpips", "psnr", "ssim", "brisque", "lr_consistency", "rank_effnet", "rank_nss"]
    digests = [load(name).digest for name in names]
    assert len(set(digests)) == len(names)
    assert digests == [load(name).digest for name in names]
    assert digests == [digest(name) for name in names]
