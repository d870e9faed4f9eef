"""Do preferences carry over: the share of pairs that the policy prefers, of groups it trains on and of others."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from components.artifacts.held_out import held_out_photos
from components.backbones.base import Backbone
from components.errors import BadInput
from components.train.batches.pairs import PairBatches
from components.train.groups import Group, check_known
from components.train.pairs import reward_margin

DRAWS = 4
"""Noise draws a group; the same at each validation, and none that is trained on."""

Share = Callable[[Sequence[Group], Callable[[Sequence[Group]], list[float]]], list[float]]
"""Does a function for all groups, wherever; see `processes.share`."""


def set_aside(
    groups: Mapping[str, Group], photos: Mapping[str, str], count: int, seed: int
) -> tuple[dict[str, Group], dict[str, Group]]:
    """Groups to train on and groups held out, at least `count`, with all groups of their photos.

    Args:
        groups: by name.
        photos: source photo by lr_id; groups of one photo are alike, so that they stay together.
        count: least number of groups held out; 0 = none.
        seed: of the draw of photos.

    Raises:
        BadInput: nothing would be left to train on, or a group is of an LR that no photo is known of.
    """
    check_known([group.lr_id for group in groups.values()], photos)
    of_photo: dict[str, dict[str, Group]] = defaultdict(dict)
    for name, group in groups.items():
        of_photo[photos[group.lr_id]][name] = group
    chosen = held_out_photos(list(of_photo), {photo: len(own) for photo, own in of_photo.items()}, count, seed)
    held = {name: group for photo in chosen for name, group in of_photo[photo].items()}
    if len(held) == len(groups):
        raise BadInput(
            f"train.held_out_groups {count} takes all {len(groups)} groups, as whole photos do: lower it, or add photos"
        )
    return {name: group for name, group in groups.items() if name not in held}, held


@dataclass(frozen=True)
class PairAccuracy:
    """Measures both shares.

    Attributes:
        batches: draws noise and encodes.
        own: groups that are trained on.
        held: groups that are not.
        share: deals the groups to several processes, which then all call `measure` together.
    """

    batches: PairBatches
    own: Sequence[Group]
    held: Sequence[Group]
    share: Share = lambda groups, measured: measured(groups)

    @torch.no_grad()
    def measure(self, backbone: Backbone) -> dict[str, float]:
        """`pair_accuracy` and `held_out_pair_accuracy`: pairs with z above 0, of z = 0 half, over groups and draws."""

        def accuracies(groups: Sequence[Group]) -> list[float]:
            return [self._accuracy(backbone, group) for group in groups]

        found = self.share([*self.own, *self.held], accuracies)
        own, held = found[: len(self.own)], found[len(self.own) :]
        return {"pair_accuracy": sum(own) / len(own), "held_out_pair_accuracy": sum(held) / len(held)}

    def _accuracy(self, backbone: Backbone, group: Group) -> float:
        draws = [self.batches.drawn(backbone, -1 - number, group) for number in range(DRAWS)]
        preferred = 0.0
        for one in draws:
            condition = self.batches.condition_of([group], [one])
            with self.batches.accelerator.autocast():
                policy, reference = backbone.errors(one.clean, condition, one.t, one.noise)
            z = reward_margin(policy, reference, one.pairs, 1.0)
            preferred += float((z > 0).double().mean() + 0.5 * (z == 0).double().mean())
        return preferred / len(draws)


def evenly(groups: Mapping[str, Group], count: int) -> list[Group]:
    """`count` of the groups, or all, spread over them."""
    listed = list(groups.values())
    return listed if len(listed) <= count else [listed[number * len(listed) // count] for number in range(count)]
