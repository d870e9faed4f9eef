"""A metric that the user wrote: `package.module:NAME` of an `OwnMetric`, wherever settings name a metric.

No import of torch here: settings are read where there is none. `components/metrics/own.py` computes it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from components.errors import BadInput
from components.metrics.table import Kind, MetricInfo
from components.settings.part import MissingLibrary, load_row

if TYPE_CHECKING:
    import torch

    Score = Callable[[torch.Tensor, torch.Tensor | None], torch.Tensor]
    """Candidates `[M, 3, H, W]` in [0, 1], and what they are compared with, to raw values `[M]`.

    That is the HR image `[1, 3, H, W]` for a metric of kind FR, the LR `[1, 3, h, w]` for one of kind LR, and None for
    one of kind NR. A gradient is asked for with as many references as candidates.
    """


@dataclass(frozen=True)
class OwnMetric:
    """A metric of one's own.

    Attributes:
        kind: what a candidate is compared with.
        higher_is_better: the direction.
        value_range: raw values, `low .. high` and a unit; `~` before an end that is typical and no bound.
        about: what it measures, in a line.
        load: from a device to the function that scores; who has a network loads it there, once.
        min_size: shortest image side in px at which it is defined.
        files: weights and other files that its values depend on, relative to its module's folder.
        batched: False if the function takes one candidate at a time.
        differentiable: whether gradients of its values are those that a training may follow.
        partial: it is NaN for all candidates of some HR images, which is no failure.
    """

    kind: Kind
    higher_is_better: bool
    value_range: str
    about: str
    load: Callable[[torch.device], Score]
    min_size: int = 1
    files: tuple[str, ...] = ()
    batched: bool = True
    differentiable: bool = False
    partial: bool = False

    def info(self, name: str) -> MetricInfo:
        """Its row, under the name that settings call it by."""
        return MetricInfo(
            name,
            Kind(self.kind),
            self.higher_is_better,
            self.value_range,
            self.min_size,
            self.about,
            batched=self.batched,
            differentiable=self.differentiable,
            partial=self.partial,
        )

    def present(self, name: str) -> list[Path]:
        """`files`, where they are.

        Raises:
            BadInput: one is missing.
        """
        places = [_folder(name) / file for file in self.files]
        for place in places:
            if not place.is_file():
                raise BadInput(f"metric {name} names {place.name} in its `files`, and {place} does not exist")
        return places


def brought(name: str) -> OwnMetric:
    """The metric `package.module:NAME`.

    Raises:
        BadInput: there is none; its cause is a `MissingLibrary` where only this place lacks what it imports.
    """
    try:
        found = load_row(name)
    except (ValueError, MissingLibrary) as error:
        raise BadInput(f"metric {name}: {error}") from error
    if not isinstance(found, OwnMetric):
        raise BadInput(
            f"metric {name} is {type(found).__name__}, and must be an OwnMetric (components/metrics/brought.py)"
        )
    return found


def code_files(name: str) -> list[Path]:
    """The Python files that its values depend on: those of its module's folder; the module alone beside params.yaml."""
    module = name.partition(":")[0]
    own = Path(str(sys.modules[module].__file__))
    return sorted(own.parent.glob("*.py")) if "." in module else [own]


def _folder(name: str) -> Path:
    return Path(str(sys.modules[name.partition(":")[0]].__file__)).parent
