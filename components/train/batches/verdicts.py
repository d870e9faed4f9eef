"""How candidates of a roll-out are rewarded: the metrics and the scalariser that make preference pairs elsewhere."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from components.artifacts.images import to_8bit, to_tensor
from components.backbones.colour import ColourFix, fix_colours
from components.metrics.suite import Suite
from components.rewards.alignment import Values, rewarded_metrics
from components.rewards.group import GroupScores, aligned, deviations
from components.rewards.scalarisers import rewards_of
from components.settings import ScalariserSettings, Settings
from components.train.groups import GroupImages

Raw = Mapping[str, Values]
"""Raw values `[B]` of a group's candidates, by rewarded metric; not a number where a metric gave none."""


@dataclass(frozen=True)
class Verdicts:
    """Scores candidates by the rewarded metrics, as they would be stored: colours fixed, 8 bits.

    Attributes:
        suite: the metrics.
        fr, nr: names, see `rewarded_metrics`.
        scalariser: from a group's scores to rewards.
        colour_fix: of the backbone's settings.
        has_hr: by lr_id.
        images: LR and HR images.
    """

    suite: Suite
    fr: tuple[str, ...]
    nr: tuple[str, ...]
    scalariser: ScalariserSettings
    colour_fix: ColourFix
    has_hr: Mapping[str, bool]
    images: GroupImages

    @classmethod
    def of(
        cls, settings: Settings, has_hr: Mapping[str, bool], images: GroupImages, device: torch.device
    ) -> "Verdicts":
        """As the settings say, for LR images with and without HR.

        Raises:
            BadInput: a weight file of a metric is missing.
        """
        fr, nr = tuple(settings.score.fr), tuple(settings.score.nr)
        kinds = sorted(set(has_hr.values()), reverse=True)
        names = dict.fromkeys(name for kind in kinds for name in rewarded_metrics(fr, nr, kind))
        suite = Suite.load(list(names), device)
        return cls(suite, fr, nr, settings.pair.scalariser, settings.backbone.colour_fix, has_hr, images)

    @property
    def names(self) -> list[str]:
        """All metrics that are asked for some LR image."""
        return self.suite.names

    def raw(self, lr_id: str, images: Tensor, upsampled: Tensor) -> Raw:
        """Raw values of the candidates `[B, 3, H, W]` of an LR; `upsampled` is the condition's, `[B, 3, H, W]`."""
        pictures = to_tensor(*to_8bit(fix_colours(images, upsampled, self.colour_fix)))
        hr = self.images.hr(lr_id) if self.has_hr[lr_id] else None
        names = rewarded_metrics(self.fr, self.nr, hr is not None)
        return self.suite.score(pictures, hr, self.images.lr(lr_id), names=names).values

    def rewards(self, lr_ids: Sequence[str], scores: Sequence[Raw]) -> list[Values]:
        """Rewards `[B]` of each group in units of their deviation within it, about 0; not a number where a score is.

        All are 0 where the scalariser finds no difference. Deviations that it asks for are those of these groups.
        """
        whole = [np.logical_and.reduce([np.isfinite(values) for values in raw.values()]) for raw in scores]
        known = [{name: raw[name][good] for name in raw} for raw, good in zip(scores, whole, strict=True)]
        spread = deviations([values for values in known if len(next(iter(values.values()))) > 1])
        found = []
        for lr_id, values, good in zip(lr_ids, known, whole, strict=True):
            rewards = np.full(len(good), np.nan)
            if good.sum() > 1:
                metrics = tuple(values)
                taus = np.array([spread[name] for name in metrics])
                indexes = tuple(int(place) for place in np.flatnonzero(good))
                group = GroupScores(lr_id, indexes, metrics, aligned(values), taus)
                rewards[good] = in_units(rewards_of(group, self.scalariser))
            found.append(rewards)
        return found


def in_units(rewards: Values) -> Values:
    """(r - mean) / deviation; zeros where all are equal."""
    apart = rewards - rewards.mean()
    deviation = float(apart.std())
    units: Values = apart / deviation if deviation > 1e-12 else np.zeros_like(apart)
    return units
