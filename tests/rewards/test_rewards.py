from pathlib import Path

import numpy as np
import pytest

from components.errors import BadInput
from components.rewards.alignment import align, rewarded_metrics
from components.rewards.group import group_rewards, min_max
from components.rewards.normaliser import FixedNormaliser

GROUP = {
    "lpips-vgg": np.array([0.40, 0.44, 0.42, 0.48]),
    "topiq_fr": np.array([0.45, 0.43, 0.44, 0.40]),
    "afine_fr": np.array([-0.9, -1.1, -0.7, -0.5]),
    "musiq": np.array([70.0, 74.0, 72.0, 66.0]),
    "afine_nr": np.array([-1.0, -1.2, -1.1, -0.8]),
}
"""The golden group: M = 4, worked by hand from docs/method.md, section 2."""


def test_golden_group() -> None:
    np.testing.assert_allclose(group_rewards(GROUP), [0.694444, 0.85, 0.688889, 0.0], atol=5e-7)


def test_sides_weigh_the_same_whatever_their_sizes() -> None:
    """The one NR metric left weighs as much as the three FR metrics together."""
    scores = {name: GROUP[name] for name in ("lpips-vgg", "topiq_fr", "afine_fr", "musiq")}
    fidelity = (np.array([1, 0.5, 0.75, 0]) + [1, 0.6, 0.8, 0] + np.array([0.4, 0.6, 0.2, 0]) / 0.6) / 3
    naturalness = np.array([0.5, 1.0, 0.75, 0.0])
    np.testing.assert_allclose(group_rewards(scores), (fidelity + naturalness) / 2)


def test_constant_metric_says_nothing() -> None:
    np.testing.assert_array_equal(min_max(np.full(3, 7.0)), [0.5, 0.5, 0.5])
    scores = {"stlpips": np.array([0.1, 0.2, 0.3]), "niqe": np.full(3, 5.0)}
    np.testing.assert_allclose(group_rewards(scores), [0.75, 0.5, 0.25])


def test_lr_consistency_takes_the_place_of_fr() -> None:
    scores = {"lr_consistency": np.array([30.0, 40.0, 35.0]), "musiq": np.array([1.0, 0.0, 0.5])}
    np.testing.assert_allclose(group_rewards(scores), [0.5, 0.5, 0.5])
    assert rewarded_metrics(["stlpips"], ["niqe"], has_hr=False) == ["lr_consistency", "niqe"]
    assert rewarded_metrics(["stlpips"], ["niqe"], has_hr=True) == ["stlpips", "niqe"]
    with pytest.raises(BadInput, match="cannot be rewarded beside stlpips"):
        group_rewards(scores | {"stlpips": np.array([0.1, 0.2, 0.3])})


def test_one_side_alone_spans_the_whole_range() -> None:
    np.testing.assert_allclose(group_rewards({"stlpips": np.array([0.1, 0.3, 0.2])}), [1.0, 0.0, 0.5])
    with pytest.raises(BadInput, match="at least one metric"):
        group_rewards({})


def test_missing_score_is_refused_not_taken_for_zero() -> None:
    with pytest.raises(ValueError, match="niqe has 1 scores that are not finite"):
        group_rewards({"niqe": np.array([1.0, np.nan])})


def test_alignment_follows_the_table() -> None:
    np.testing.assert_array_equal(align("niqe", np.array([3.0])), [-3.0])
    np.testing.assert_array_equal(align("psnr", np.array([3.0])), [3.0])


def test_fixed_normaliser_is_not_clipped_and_ignores_other_metrics() -> None:
    normaliser = FixedNormaliser.fit({"stlpips": np.array([0.2, 0.4]), "musiq": np.array([50.0, 60.0])})
    scores = {
        "stlpips": np.array([0.2, 0.4, 0.1]),
        "musiq": np.array([60.0, 50.0, 65.0]),
        "psnr": np.array([1.0, 2, 3]),
    }
    np.testing.assert_allclose(normaliser.apply(scores), [1.0, 0.0, 1.5])
    np.testing.assert_allclose(normaliser.normalised(scores)["stlpips"], [1.0, 0.0, 1.5])
    with pytest.raises(BadInput, match="bounds for metric musiq"):
        normaliser.apply({"stlpips": np.array([0.2])})


def test_fixed_normaliser_equals_group_rewards_on_what_it_was_fitted_to() -> None:
    np.testing.assert_allclose(FixedNormaliser.fit(GROUP).apply(GROUP), group_rewards(GROUP), atol=1e-12)


def test_fixed_normaliser_refuses_what_cannot_be_normalised() -> None:
    with pytest.raises(BadInput, match=r"musiq is 5\.0 for all 2 candidates"):
        FixedNormaliser.fit({"musiq": np.array([5.0, 5.0])})
    with pytest.raises(ValueError, match="no scores"):
        FixedNormaliser.fit({"musiq": np.array([])})


def test_fixed_normaliser_file(tmp_path: Path) -> None:
    normaliser = FixedNormaliser.fit(GROUP)
    path = tmp_path / "normaliser.json"
    normaliser.save(path)
    assert FixedNormaliser.load(path) == normaliser
    path.write_text(path.read_text().replace("0.48", "0.49"))
    with pytest.raises(BadInput, match="does not fit its digest"):
        FixedNormaliser.load(path)
    path.write_text("{}")
    with pytest.raises(BadInput, match="cannot be read"):
        FixedNormaliser.load(path)
