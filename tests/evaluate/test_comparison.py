import numpy as np
import pytest

from components.artifacts.evaluation import BestMeanWorst, Comparison
from components.errors import BadInput
from components.evaluate.comparison import Scored, compare, headline, held_out_worse, means, verdict
from components.judge.bootstrap import Interval
from components.judge.measure import Measurement
from components.judge.rewards import fit_normaliser, rewards

PHOTOS = {"a": "p", "b": "p", "c": "q"}


def rows(values: dict[tuple[str, int], dict[str, float]]) -> list[Measurement]:
    return [Measurement(lr_id, index, scores) for (lr_id, index), scores in values.items()]


def figures(base: Scored, aligned: Scored) -> Comparison:
    return compare(base, aligned, ["psnr", "niqe"], ["psnr"], PHOTOS, resamples=500, confidence=0.9, seed=0)


BASE = rows({(lr, index): {"psnr": 20.0 + index, "niqe": 5.0} for lr in PHOTOS for index in range(2)})
BETTER = rows({(lr, index): {"psnr": 21.0 + index, "niqe": 6.0} for lr in PHOTOS for index in range(2)})


def test_figures_by_hand() -> None:
    base, aligned = Scored(BASE, [0.0, 0.5] * 3), Scored(BETTER, [0.25, 0.5] * 3)
    result = figures(base, aligned)
    assert (result.images, result.photos, result.pairs) == (3, 2, 6)
    psnr, niqe = result.metrics["psnr"], result.metrics["niqe"]
    assert (psnr.base, psnr.aligned, psnr.difference, psnr.ci_low, psnr.ci_high) == (20.5, 21.5, 1, 1, 1)
    assert (psnr.verdict, psnr.in_reward, psnr.spread) == ("better", True, 0.5)
    assert (niqe.verdict, niqe.in_reward) == ("worse", False), "niqe is lower-is-better and rose"
    assert result.reward.difference == pytest.approx(0.125)
    assert result.win_rate.value == 0.75  # index 0 won (1), index 1 tied (0.5)
    assert result.best_mean_worst.base == {
        "1": BestMeanWorst(best=0.25, mean=0.25, worst=0.25),
        "2": BestMeanWorst(best=0.5, mean=0.25, worst=0.0),
    }
    assert held_out_worse(result) == ["niqe"]
    assert headline(result) == (
        "reward 0.2500 -> 0.3750 (difference +0.1250, 90% CI +0.1250 .. +0.1250), "
        "win rate 75.0% (75.0% .. 75.0%); held-out metrics significantly worse: niqe"
    )


def test_rows_pair_by_image_and_index_whatever_their_order() -> None:
    shuffled = Scored(BETTER[::-1], ([0.25, 0.5] * 3)[::-1])
    base = Scored(BASE, [0.0, 0.5] * 3)
    assert figures(base, shuffled) == figures(base, Scored(BETTER, [0.25, 0.5] * 3))


def test_a_row_without_a_reward_drops_its_pair_and_is_not_zero() -> None:
    aligned = Scored.of(BETTER, [None, 0.5, 0.25, 0.5, 0.25, 0.5])
    result = figures(Scored(BASE, [0.0, 0.5] * 3), aligned)
    assert result.pairs == 5
    assert result.reward.base == pytest.approx((0.5 * 3 + 0.0 * 2) / 5)
    with pytest.raises(BadInput, match="no restoration has a reward under both"):
        figures(Scored(BASE, [0.0, 0.5] * 3), Scored.of(BETTER, [None] * 6))


def test_verdict_follows_the_direction() -> None:
    rose = Interval(0.2, 0.1, 0.3)
    assert (verdict(rose, True), verdict(rose, False)) == ("better", "worse")
    assert verdict(Interval(0.2, -0.1, 0.3), True) == "no significant change"


def test_means_leave_out_what_is_missing() -> None:
    mixed = Scored(rows({("a", 0): {"psnr": 20.0}, ("c", 0): {}}), [0.2, 0.4])
    assert means(mixed, ["psnr", "niqe"]) == {"reward": pytest.approx(0.3), "psnr": 20.0}


def test_fixed_rewards_by_hand() -> None:
    """psnr 20..24 and niqe 4..8 over the baseline: R = 0.5 * s(psnr) + 0.5 * s(niqe); beyond the baseline above 1."""
    baseline = rows({("a", 0): {"psnr": 20.0, "niqe": 8.0}, ("a", 1): {"psnr": 24.0, "niqe": 4.0}})
    normaliser = fit_normaliser(baseline, lambda lr_id: ["psnr", "niqe"])
    others = rows(
        {("a", 0): {"psnr": 21.0, "niqe": 4.0}, ("a", 1): {"psnr": 26.0, "niqe": 3.0}, ("a", 2): {"psnr": 21.0}}
    )
    found = rewards(others, lambda lr_id: ["psnr", "niqe"], normaliser)
    assert found == [pytest.approx(0.625), pytest.approx(1.375), None]


def test_images_without_hr_are_rewarded_by_their_own_metrics() -> None:
    def rewarded(lr_id: str) -> list[str]:
        return ["psnr", "niqe"] if lr_id == "a" else ["lr_consistency", "niqe"]

    baseline = rows(
        {
            ("a", 0): {"psnr": 20.0, "niqe": 8.0},
            ("a", 1): {"psnr": 24.0, "niqe": 4.0},
            ("b", 0): {"lr_consistency": 30.0, "niqe": 6.0},
            ("b", 1): {"lr_consistency": 40.0, "niqe": 6.0},
        }
    )
    normaliser = fit_normaliser(baseline, rewarded)
    assert rewards(baseline, rewarded, normaliser) == pytest.approx([0.0, 1.0, 0.25, 0.75])


def test_a_metric_that_failed_everywhere_is_named() -> None:
    with pytest.raises(BadInput, match=r"\['niqe'\] failed on every restoration"):
        fit_normaliser(rows({("a", 0): {"psnr": 20.0}, ("a", 1): {"psnr": 21.0}}), lambda lr_id: ["psnr", "niqe"])


def test_spread_of_the_base_is_over_rows() -> None:
    result = figures(Scored(BASE, list(np.linspace(0, 1, 6))), Scored(BETTER, list(np.linspace(0, 1, 6))))
    assert result.reward.spread == pytest.approx(np.linspace(0, 1, 6).std())
