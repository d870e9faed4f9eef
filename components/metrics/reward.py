"""Rewards of candidates from raw metric values (DP2O-SR, section 3.2). Pure functions of arrays."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from components.artifacts.digests import of_json
from components.artifacts.publish import write_json
from components.errors import BadInput
from components.metrics.table import LR_CONSISTENCY, Kind, info, of_kind

Values = NDArray[np.float64]


def align(name: str, raw: Values) -> Values:
    """Raw values of metric `name` so that higher is better."""
    return raw if info(name).higher_is_better else -raw


def min_max(aligned: Values) -> Values:
    """Min-max of one metric within a group: (s - min) / (max - min); a constant metric says nothing: 0.5."""
    low, high = aligned.min(), aligned.max()
    if high == low:
        return np.full_like(aligned, 0.5)
    normalised: Values = (aligned - low) / (high - low)
    return normalised


def combine(normalised: Mapping[str, Values]) -> Values:
    """R = 0.5 * mean over FR + 0.5 * mean over NR, of direction-aligned, normalised values.

    Where no FR metric is given, `lr_consistency` takes its place. Where one side is given alone, R is its mean, so that
    R stays in [0, 1] for inputs in [0, 1].

    Raises:
        BadInput: no metric is given, or `lr_consistency` beside FR metrics (with HR at hand it is no reward).
    """
    names = list(normalised)
    fidelity, naturalness = of_kind(names, Kind.FR), of_kind(names, Kind.NR)
    stand_in = of_kind(names, Kind.LR)
    if fidelity and stand_in:
        raise BadInput(
            f"{', '.join(stand_in)} is a stand-in for FR metrics and cannot be rewarded beside {', '.join(fidelity)}: "
            "leave it out of the reward where there is an HR reference"
        )
    sides = [side for side in (fidelity or stand_in, naturalness) if side]
    if not sides:
        raise BadInput("a reward needs at least one metric: set score.fr or score.nr")
    means = [np.mean([normalised[name] for name in side], axis=0) for side in sides]
    reward: Values = np.mean(means, axis=0)
    return reward


def rewarded_metrics(fr: Sequence[str], nr: Sequence[str], has_reference: bool) -> list[str]:
    """The metrics that make the reward of an image: `fr` and `nr`, or, without HR, `lr_consistency` and `nr`."""
    return [*fr, *nr] if has_reference else [LR_CONSISTENCY, *nr]


def _finite(scores: Mapping[str, Values]) -> dict[str, Values]:
    checked = {name: np.asarray(values, dtype=np.float64) for name, values in scores.items()}
    for name, values in checked.items():
        if not np.isfinite(values).all():
            raise ValueError(f"metric {name} has {np.count_nonzero(~np.isfinite(values))} scores that are not finite")
    return checked


def group_rewards(scores: Mapping[str, Values]) -> Values:
    """Rewards R in [0, 1] of the M candidates of one LR, `[M]` float64, from raw values `[M]` per rewarded metric.

    Not comparable between groups or models: every metric is normalised within the group.

    Raises:
        ValueError: a score is not finite; such candidates are quarantined before.
        BadInput: the metrics do not make a reward, see `combine`.
    """
    return combine({name: min_max(align(name, raw)) for name, raw in _finite(scores).items()})


@dataclass(frozen=True)
class FixedNormaliser:
    """Normalises with bounds fixed once, on the baseline's candidates, so that rewards of models can be compared.

    `bounds`: metric name -> (min, max) of the raw values.
    """

    bounds: dict[str, tuple[float, float]]

    @classmethod
    def fit(cls, scores: Mapping[str, Values]) -> "FixedNormaliser":
        """Bounds of raw values, one array per rewarded metric, over all candidates of the baseline.

        Raises:
            ValueError: a metric has no scores, or one that is not finite.
            BadInput: a metric is the same for all candidates, so that it cannot be normalised.
        """
        bounds = {}
        for name, values in _finite(scores).items():
            if values.size == 0:
                raise ValueError(f"metric {name} has no scores to take bounds from")
            low, high = float(values.min()), float(values.max())
            if low == high:
                raise BadInput(f"metric {name} is {low} for every candidate of the baseline: remove it from the reward")
            bounds[name] = (low, high)
        return cls(bounds)

    def normalised(self, scores: Mapping[str, Values]) -> dict[str, Values]:
        """Direction-aligned values, 0 at the baseline's worst and 1 at its best; not clipped: better is above 1."""
        result = {}
        for name, (low, high) in self.bounds.items():
            if name not in scores:
                raise BadInput(f"the fixed normaliser has bounds for metric {name}, but no scores of it were given")
            worst, best = (low, high) if info(name).higher_is_better else (high, low)
            result[name] = (np.asarray(scores[name], dtype=np.float64) - worst) / (best - worst)
        return result

    def apply(self, scores: Mapping[str, Values]) -> Values:
        """Rewards `[K]` of K candidates from raw values `[K]` per metric; extra metrics are ignored.

        A score that is not finite gives a reward that is not finite.
        """
        return combine(self.normalised(scores))

    @property
    def digest(self) -> str:
        """Hex sha256 of the bounds: rewards are comparable exactly if their normalisers' digests are equal."""
        return of_json(self.bounds)

    def save(self, path: Path) -> None:
        """Publish as JSON."""
        write_json(path, {"bounds": self.bounds, "digest": self.digest})

    @classmethod
    def load(cls, path: Path) -> "FixedNormaliser":
        """Read what `save` wrote.

        Raises:
            BadInput: the file is missing, no such JSON, or was changed by hand (its digest does not fit).
        """
        try:
            content = json.loads(path.read_text())
            normaliser = cls({name: (float(low), float(high)) for name, (low, high) in content["bounds"].items()})
            recorded = content["digest"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadInput(f"the fixed normaliser {path} cannot be read ({error}); run evaluate again") from error
        if recorded != normaliser.digest:
            raise BadInput(f"the fixed normaliser {path} does not fit its digest; run evaluate again to refit it")
        return normaliser
