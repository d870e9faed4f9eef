"""Base and aligned model mixed while they sample: interpolation, extrapolation, annealed guidance; and the dial.

Annealed importance guidance (AIG, arXiv 2409.06493) mixes the two predictions with a weight that grows
over the steps: the base decides the structure, and the aligned model what is settled late. A constant weight
interpolates between the two models, or goes beyond the aligned one. Nothing is trained. A policy with a dial is told
the mixture's preference.
"""

from dataclasses import dataclass

from torch import Tensor

from components.backbones.base import Backbone, Branch, Branches, Condition, Predictor, Source
from components.backbones.dial import preferring
from components.errors import BadInput
from components.settings import MixtureSettings
from components.storage import digests


@dataclass(frozen=True)
class Mixing:
    """Samples as `settings` say; fulfils `Mixture`."""

    settings: MixtureSettings

    def digest(self, branches: Branches) -> str:
        own = self.settings.model_dump(mode="json")
        return digests.of_json(["mixture", own, branches.digest("reference"), branches.digest("policy")])

    def predictor(self, backbone: Backbone, times: Tensor) -> Predictor:
        """See `Mixture`. A step of weight 0 or 1 is one branch's own prediction, bit for bit and at its cost.

        Raises:
            BadInput: a preference is told to a model without a dial.
        """
        preference = self.settings.preference
        if preference is not None and not backbone.has_dial:
            raise BadInput(
                f"preference {preference:g} is for a model with a dial, and this one has none: train one with "
                "pair.dial, or leave the preference out"
            )
        levels = times.tolist()
        weights = self.settings.weights(len(levels))
        asked: list[Branch] = ["reference"] if any(weight != 1.0 for weight in weights) else []
        asked += ["policy"] if any(weight != 0.0 for weight in weights) else []
        predictors = {branch: backbone.predictor(branch) for branch in asked}

        def predict(x: Tensor, t: Tensor, condition: Condition) -> Tensor:
            level = float(t[0])  # one for all rows, see `moves`
            weight = weights[min(range(len(levels)), key=lambda step: abs(levels[step] - level))]
            told = condition if preference is None else preferring(condition, preference)
            if weight in (0.0, 1.0):
                return predictors["policy"](x, t, told) if weight else predictors["reference"](x, t, condition)
            base = predictors["reference"](x, t, condition)
            # Written so that two equal predictions give just that.
            return base + weight * (predictors["policy"](x, t, told) - base)

        return predict


def source_of(mixture: MixtureSettings | None) -> Source:
    """Who predicts: a branch where the mixture is one, and the policy where there is none."""
    if mixture is None:
        return "policy"
    return mixture.branch or Mixing(mixture)
