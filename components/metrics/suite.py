"""Several metrics over the candidates of one LR: what score, train and evaluate call."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from components.errors import BadInput
from components.metrics.base import Context, Metric, digest, load
from components.metrics.table import Kind, of_kind
from components.storage.digests import of_json

# What pyiqa's networks raise on an image they cannot judge, a constant one for example.
_UNSCORABLE = (RuntimeError, ValueError, AssertionError, IndexError, ArithmeticError)


@dataclass(frozen=True)
class Failure:
    """A candidate, by its position, for which `metric` gave no finite score.

    `reason` is `not_finite` or the name of the error; `detail` the value or the error's text.
    """

    candidate: int
    metric: str
    reason: str
    detail: str


@dataclass(frozen=True)
class GroupScores:
    """Raw values `[M]` float64 per metric that applies, NaN where `failures` has a row.

    A metric that is `partial` is NaN without a failure for all candidates of an HR image that it is not defined for.
    """

    values: dict[str, NDArray[np.float64]]
    failures: list[Failure]

    @property
    def failed(self) -> list[int]:
        """Positions of the candidates that lack a score, in order."""
        return sorted({failure.candidate for failure in self.failures})


def suite_digests(names: Sequence[str], folder: Path | None = None) -> dict[str, str]:
    """`Suite.load(names).digests` without loading a network.

    Raises:
        BadInput: a name is unknown, or a weight file is missing.
    """
    return {name: digest(name, folder) for name in names}


def applicable(names: Iterable[str], has_hr: bool) -> list[str]:
    """The metrics among `names` that an image with, or without, an HR image beside it can be scored with."""
    kinds = (Kind.FR, Kind.NR, Kind.LR) if has_hr else (Kind.NR, Kind.LR)
    return of_kind(list(names), *kinds)


class Suite:
    """Loaded metrics, in the order of their names as given."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self.metrics = {metric.info.name: metric for metric in metrics}

    @classmethod
    def load(cls, names: Sequence[str], device: torch.device | str = "cpu", folder: Path | None = None) -> "Suite":
        """Load metrics by name; A-FINE's two terms share one network.

        Raises:
            BadInput: a name is unknown or given twice, or a weight file is missing.
        """
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise BadInput(f"metrics are listed more than once: {', '.join(repeated)}; name each once (score)")
        return cls([load(name, device, folder) for name in names])

    @property
    def names(self) -> list[str]:
        """Metric names, in order."""
        return list(self.metrics)

    @property
    def digest(self) -> str:
        """Hex sha256 of all metrics' digests: what a cached score is good for."""
        return of_json(self.digests)

    @property
    def digests(self) -> dict[str, str]:
        """Each metric's digest by its name, in order."""
        return {name: metric.digest for name, metric in self.metrics.items()}

    def applicable(self, has_hr: bool) -> list[str]:
        """The metrics that an image with, or without, an HR image beside it can be scored with."""
        return applicable(self.names, has_hr)

    def score(
        self,
        candidates: torch.Tensor,
        hr: torch.Tensor | None,
        lr: torch.Tensor | None,
        batch: int | None = None,
        names: Sequence[str] | None = None,
    ) -> GroupScores:
        """Raw scores of candidates `[M, 3, H, W]` in [0, 1] of one LR.

        `hr` `[1, 3, H, W]` or None, `lr` `[1, 3, h, w]` or None (then `lr_consistency` must not be among the
        metrics); `batch`: candidates per network call (default all), which bounds memory and does not change scores;
        `names`: only these metrics (default all that apply). A candidate a metric cannot judge is a `Failure`, not an
        error.

        Raises:
            BadInput: sizes do not fit together or are below what a metric takes.
        """
        values: dict[str, NDArray[np.float64]] = {}
        failures: list[Failure] = []
        # One set of tensors for all metrics: those that share a network recognise their input by identity.
        parts = _parts(candidates, batch or len(candidates))
        for name in self.applicable(hr is not None) if names is None else names:
            metric = self.metrics[name]
            context = metric.prepare(hr, lr)
            scores = [_score_part(metric, part, context, offset, failures) for offset, part in parts]
            raw = torch.cat(scores).double().numpy()
            known = {failure.candidate for failure in failures if failure.metric == name}
            undefined = metric.info.partial and not known and bool(np.isnan(raw).all())
            for position in np.flatnonzero(~np.isfinite(raw)):
                if int(position) not in known and not undefined:
                    failures.append(Failure(int(position), name, "not_finite", str(raw[position])))
            raw[~np.isfinite(raw)] = np.nan
            values[name] = raw
        return GroupScores(values, failures)


def _parts(candidates: torch.Tensor, batch: int) -> list[tuple[int, torch.Tensor]]:
    return [(start, candidates[start : start + batch]) for start in range(0, len(candidates), batch)]


def _score_part(
    metric: Metric, part: torch.Tensor, context: Context, offset: int, failures: list[Failure]
) -> torch.Tensor:
    """Scores of `part`; when the call fails, one candidate at a time, so that only those at fault are lost."""
    try:
        return metric(part, context)
    except torch.OutOfMemoryError:
        raise
    except _UNSCORABLE as error:
        if len(part) == 1:
            failures.append(Failure(offset, metric.info.name, type(error).__name__, str(error)[:300]))
            return torch.full((1,), float("nan"))
        singles = [
            _score_part(metric, part[position : position + 1], context, offset + position, failures)
            for position in range(len(part))
        ]
        return torch.cat(singles)
