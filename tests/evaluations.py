"""reports/evaluation.json made by hand: what evaluate leaves to report, register and the console."""

from typing import Any

from components.artifacts.evaluation import Evaluation

SAME = "no significant change"


def figures(
    base: float, difference: float, verdict: str = "better", higher: bool = True, rewarded: bool = False
) -> dict[str, Any]:
    """One measure; its interval is .02 wide."""
    return {
        "base": base,
        "aligned": base + difference,
        "difference": difference,
        "ci_low": difference - 0.01,
        "ci_high": difference + 0.01,
        "spread": 0.1,
        "higher_is_better": higher,
        "in_reward": rewarded,
        "verdict": verdict,
    }


def comparison(**changes: Any) -> dict[str, Any]:
    """Figures of one kind of images."""
    values: dict[str, Any] = {
        "images": 10,
        "photos": 5,
        "pairs": 40,
        "confidence": 0.95,
        "reward": figures(0.5, 0.04, rewarded=True),
        "win_rate": {"value": 0.65, "ci_low": 0.55, "ci_high": 0.75},
        "metrics": {
            "stlpips-vgg": figures(0.4, -0.02, higher=False),
            "stlpips": figures(0.3, -0.03, higher=False, rewarded=True),
            "psnr": figures(24.0, 0.005, SAME),
        },
        "best_mean_worst": {
            "base": {"1": {"best": 0.5, "mean": 0.5, "worst": 0.5}, "2": {"best": 0.6, "mean": 0.5, "worst": 0.4}},
            "aligned": {
                "1": {"best": 0.54, "mean": 0.54, "worst": 0.54},
                "2": {"best": 0.6, "mean": 0.54, "worst": 0.48},
            },
        },
    }
    return values | changes


def evaluation(**changes: Any) -> Evaluation:
    """The whole document, with some of its keys changed."""
    values: dict[str, Any] = comparison() | {
        "seeds": 4,
        "bootstrap": 2000,
        "clusters": "source photo",
        "peers": {"bicubic": {"reward": 0.2, "stlpips": 0.25, "stlpips-vgg": 0.5, "psnr": 25.0}},
        "controls": {},
        "anatomy": {"spread": {}, "reward_against": {}},
        "failed_scores": 0,
        "failures": (),
        "digests": {"base": "b" * 64, "aligned": "a" * 64, "sampler": "5", "metrics": "e", "normaliser": "9"},
        "metric_digests": {"stlpips": "s", "psnr": "p"},
        "headline": "reward 0.5000 -> 0.5400",
        "has_hr": True,
    }
    return Evaluation.model_validate(values | changes)


def changed(reward: str = "better", **verdicts: str) -> Evaluation:
    """The same with other verdicts of the reward and of metrics, `_` for `-`."""
    values = comparison()
    values["reward"]["verdict"] = reward
    for name, verdict in verdicts.items():
        values["metrics"][name.replace("_", "-")]["verdict"] = verdict
    return evaluation(**values)


LR_ONLY = comparison(
    images=3,
    photos=2,
    pairs=12,
    reward=figures(0.6, -0.02, "worse", rewarded=True),
    metrics={"lr_consistency": figures(30.0, -0.5, "worse", rewarded=True)},
)
"""Of images without HR, beside those with."""
