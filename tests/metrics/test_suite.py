import numpy as np
import pytest
import torch

from components.errors import BadInput
from components.metrics.suite import Suite


def test_constant_candidate_fails_alone(hr: torch.Tensor, lr: torch.Tensor, candidates: torch.Tensor) -> None:
    """BRISQUE of a constant image is NaN and NIQE raises on one; the others' scores are as without it."""
    suite = Suite.load(["psnr", "brisque", "niqe"])
    spoilt = candidates.clone()
    spoilt[2] = 0.5
    result = suite.score(spoilt, hr, lr)
    assert result.failed == [2]
    assert {(failure.metric, failure.reason) for failure in result.failures} == {
        ("brisque", "not_finite"),
        ("niqe", "_LinAlgError"),
    }
    others = [0, 1, 3, 4]
    clean = suite.score(candidates, hr, lr)
    for name in suite.names:
        np.testing.assert_allclose(result.values[name][others], clean.values[name][others], atol=0.05)
    assert np.isnan(result.values["niqe"][2])
    assert np.isfinite(result.values["psnr"]).all()


def test_without_hr_only_nr_and_lr_metrics(lr: torch.Tensor, candidates: torch.Tensor) -> None:
    suite = Suite.load(["psnr", "piqe", "lr_consistency"])
    assert suite.applicable(has_hr=False) == ["piqe", "lr_consistency"]
    assert list(suite.score(candidates, None, lr).values) == ["piqe", "lr_consistency"]
    assert list(suite.score(candidates, None, lr, names=["piqe"]).values) == ["piqe"]


def test_a_metric_is_named_once() -> None:
    with pytest.raises(BadInput, match="more than once: psnr"):
        Suite.load(["psnr", "ssim", "psnr"])
