"""Rewards under bounds that are fixed once, on the baseline's candidates. Pure but for the file they are kept in."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from components.errors import BadInput
from components.metrics.table import info
from components.rewards.alignment import Values, finite
from components.rewards.sides import combine
from components.storage.digests import of_json
from components.storage.publish import write_json


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
        for name, values in finite(scores).items():
            if values.size == 0:
                raise ValueError(f"metric {name} has no scores to take bounds from")
            low, high = float(values.min()), float(values.max())
            if values.size == 1:
                raise BadInput(
                    f"metric {name} has one score of the baseline, and one alone has no range: add photos, or raise "
                    "train.validation_seeds or evaluate.seeds"
                )
            if low == high:
                raise BadInput(
                    f"metric {name} is {low} for all {values.size} candidates of the baseline: add photos, "
                    "or take another metric in score.fr or score.nr"
                )
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
