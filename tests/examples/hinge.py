"""An objective of one's own: a hinge on z, which has no gradient once a pair is far enough apart."""

import torch.nn.functional as F
from torch import Tensor

from components.settings import Positive, PreferenceSettings
from components.train.objectives import Objective
from components.train.pairs import PairLosses, Pairs, reward_margin


class HingeSettings(PreferenceSettings):
    """What `train.objective` takes beside `kind` and `beta`.

    Attributes:
        width: z from which a pair has no gradient.
    """

    width: Positive = 1.0


def hinge(policy: Tensor, reference: Tensor, pairs: Pairs, settings: HingeSettings) -> PairLosses:
    """max(0, width - z), weighted."""
    z = reward_margin(policy, reference, pairs, settings.beta)
    return PairLosses(pairs.weight * F.relu(settings.width - z), z.detach())


HINGE = Objective(HingeSettings, hinge)
