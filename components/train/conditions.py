"""Conditions of LR images during training: encoded once, kept as long as memory allows."""

from collections import OrderedDict
from collections.abc import Sequence

import torch

from components.backbones.base import Backbone, Condition
from components.train.groups import GroupImages


class Conditions:
    """The least recently used are forgotten first.

    They are kept in host memory: a GPU's is for the networks, and a copy takes a thousandth of what encoding takes.

    Args:
        limit: bytes of all kept conditions; one that is larger by itself is not kept.
    """

    def __init__(self, backbone: Backbone, images: GroupImages, limit: int) -> None:
        self._backbone, self._images, self._limit = backbone, images, limit
        self._kept: OrderedDict[tuple[str, str], Condition] = OrderedDict()
        self.bytes = 0

    def of(self, lr_ids: Sequence[str], device: torch.device, words: str = "") -> Condition:
        """Condition of the given LR images, one a row, on `device`. They are of one size.

        Each is encoded alone, so that its bits do not depend on the others. `words` go after each prompt.
        """
        return Condition.join([self._one(lr_id, words).to(device) for lr_id in lr_ids])

    def _one(self, lr_id: str, words: str) -> Condition:
        key = (lr_id, words)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        prompt = ", ".join(text for text in (self._images.prompt(lr_id), words) if text)
        with torch.no_grad():
            condition = self._backbone.condition(self._images.lr(lr_id), (prompt,))
        condition = condition.to(torch.device("cpu"))
        if condition.bytes <= self._limit:
            self._kept[key] = condition
            self.bytes += condition.bytes
            while self.bytes > self._limit:
                self.bytes -= self._kept.popitem(last=False)[1].bytes
        return condition
