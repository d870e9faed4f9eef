"""A sampler's mixture: the base decides the structure, and the aligned model fades in as the noise falls."""

from dataclasses import dataclass

from torch import Tensor

from components.backbones.base import Backbone, Branches, Condition, Predictor
from components.storage import digests


@dataclass(frozen=True)
class Fading:
    """(1 - w) base + w aligned with w = (1 - t)^power.

    Attributes:
        power: 0 is the aligned model alone; the larger, the later it has a say.
    """

    power: float

    def digest(self, branches: Branches) -> str:
        return digests.of_json(["fading", self.power, branches.digest("reference"), branches.digest("policy")])

    def predictor(self, backbone: Backbone, times: Tensor) -> Predictor:
        base, aligned = backbone.predictor("reference"), backbone.predictor("policy")

        def predict(x: Tensor, t: Tensor, condition: Condition) -> Tensor:
            weight = (1.0 - t).pow(self.power).view(-1, *[1] * (x.dim() - 1))
            return (1.0 - weight) * base(x, t, condition) + weight * aligned(x, t, condition)

        return predict
