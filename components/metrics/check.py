"""What every stage takes for granted of a metric, tried on one: for people who bring their own.

Each check asks for one promise of `Metric` and of its row. What the promises are for: scores are cached by digest and
made in batches, so the same pixels must have the same score whatever stands beside them; and a reward is followed, so
better pictures must have better ones.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from components.errors import BadInput, UserError
from components.metrics.base import Context, Metric, digest, load
from components.metrics.gradients import Gradual, load_gradual
from components.metrics.table import Kind, MetricInfo
from components.metrics.trial import DEGRADATIONS, Trial

RIGHTLY, TOLD = 0.75, 0.05
"""Least share of pairs of strengths that are ranked rightly, of those that are told apart; and of those, of all."""
BATCH = 5
STEP = 3e-4
"""Root mean square, of [0, 1], of the step along a gradient that is taken to see whether it is one."""
_RANGE = re.compile(r"(~?)(-?\d+(?:\.\d+)?) \.\. (~?)(-?\d+(?:\.\d+)?)(?: \S.*)?")

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Outcome:
    """Of a check.

    Attributes:
        name: of the promise.
        holds: whether it does.
        seen: what was found.
        change: what to change where it does not hold.
    """

    name: str
    holds: bool
    seen: str
    change: str = ""


@dataclass(frozen=True)
class Bench:
    """A metric on trial.

    Attributes:
        name: as settings call it.
        metric: loaded.
        device: where it runs.
        trials: what it is tried on, of one size.
        tolerance: difference that rounding may make, in deviations of the values.
    """

    name: str
    metric: Metric
    device: torch.device
    trials: Sequence[Trial]
    tolerance: float

    @property
    def row(self) -> MetricInfo:
        """Of the metric."""
        return self.metric.info

    def context(self, trial: Trial) -> Context:
        """Of a trial's HR and LR."""
        return self.metric.prepare(None if self.row.kind is Kind.NR else trial.hr, trial.lr)

    def score(self, images: Tensor, context: Context) -> Tensor:
        """Raw values `[M]`; on a copy, so that what writes to its input fails one check and not all."""
        return self.metric(images.clone(), context)

    @cached_property
    def values(self) -> Values:
        """Raw values `[trials, 17]` of each trial's images."""
        rows = []
        for trial in self.trials:
            context = self.context(trial)
            rows.append(torch.cat([self.score(part, context) for part in trial.images.split(BATCH)]))
        return torch.stack(rows).double().numpy()

    @property
    def defined(self) -> list[int]:
        """Trials that it has values of."""
        return [number for number, row in enumerate(self.values) if not np.isnan(row).all()]

    @property
    def first(self) -> Trial:
        """The first of those."""
        found = self.defined
        return self.trials[found[0] if found else 0]

    @property
    def unit(self) -> float:
        """Deviation of the values, what differences are measured in."""
        spread = float(np.nanstd(self.values))
        return spread if np.isfinite(spread) and spread > 0.0 else 1.0


def check(name: str, device: torch.device, trials: Sequence[Trial], tolerance: float = 1e-3) -> Iterator[Outcome]:
    """Outcomes, one after the other; a check that raises has failed.

    Raises:
        BadInput: there is no such metric, or it lacks what it needs.
    """
    bench = Bench(name, load(name, device), device, trials, tolerance)
    for promise, (run, change) in CHECKS.items():
        try:
            seen, holds = run(bench)
        except UserError as error:
            seen, holds = str(error), False
        except Exception as error:  # noqa: BLE001  # somebody else's metric
            seen, holds = f"{type(error).__name__}: {error}", False
        yield Outcome(promise, holds, seen, "" if holds else change)


def _shape(bench: Bench) -> tuple[str, bool]:
    trial = bench.first
    images = trial.images[:BATCH]
    found = bench.score(images, bench.context(trial))
    holds = tuple(found.shape) == (len(images),) and found.dtype == torch.float32 and found.device.type == "cpu"
    return f"{tuple(found.shape)} {found.dtype} on {found.device} for {len(images)} images", holds


def _finite(bench: Bench) -> tuple[str, bool]:
    values, defined = bench.values, bench.defined
    if not defined:
        return f"undefined for all {len(values)} pictures", False
    inside = values[defined]
    odd = int(np.count_nonzero(~np.isfinite(inside)))
    if odd or (len(defined) < len(values) and not bench.row.partial):
        return f"{odd + values[0].size * (len(values) - len(defined))} of {values.size} values are not finite", False
    told = f", undefined for {len(values) - len(defined)} of {len(values)} pictures" if bench.row.partial else ""
    return f"{inside.size} values{told}", True


def _range(bench: Bench) -> tuple[str, bool]:
    match = _RANGE.fullmatch(bench.row.value_range)
    values = bench.values[:, 1:]  # equal pictures are a limit of their own: PSNR has 80 dB there
    found = f"{np.nanmin(values):.4g} .. {np.nanmax(values):.4g}"
    if match is None:
        return f"{bench.row.value_range!r} is no range", False
    low, high = float(match[2]), float(match[4])
    rounding = 1e-5 * (high - low)
    # A typical end is passed now and then, never by as much as the range is wide.
    slack = [(high - low) if soft else rounding for soft in (match[1], match[3])]
    holds = bool(np.nanmin(values) >= low - slack[0] and np.nanmax(values) <= high + slack[1])
    return f"{found}, declared {bench.row.value_range}", holds


def _determinism(bench: Bench) -> tuple[str, bool]:
    trial, other = bench.first, bench.trials[-1]
    images = trial.images[:BATCH]
    before = bench.score(images, bench.context(trial))
    bench.score(other.images[:BATCH], bench.context(other))
    again = load(bench.name, bench.device)
    repeated = bench.score(images, bench.context(trial)), again(images.clone(), again.prepare(trial.hr, trial.lr))
    difference = max(float((one - before).abs().max()) for one in repeated)
    return f"scored again, and by one that was loaded again: {difference:.1g} apart", difference == 0.0


def _batch(bench: Bench) -> tuple[str, bool]:
    trial = bench.first
    context, images = bench.context(trial), trial.images[[0, 2, 6, 10, 14]]
    together = bench.score(images, context)
    alone = torch.cat([bench.score(image[None], context) for image in images])
    difference = float((together - alone).abs().max()) / bench.unit
    return f"alone and beside others: {difference:.1g} deviations apart", difference <= bench.tolerance


def _inputs(bench: Bench) -> tuple[str, bool]:
    trial = bench.first
    images, hr, lr = trial.images[:BATCH].clone(), trial.hr.clone(), trial.lr.clone()
    bench.metric(images, bench.metric.prepare(None if bench.row.kind is Kind.NR else hr, lr))
    given = {"candidates": (images, trial.images[:BATCH]), "HR": (hr, trial.hr), "LR": (lr, trial.lr)}
    changed = [what for what, (after, before) in given.items() if not torch.equal(after, before)]
    return f"{', '.join(changed) or 'nothing'} changed by a call", not changed


def _reference(bench: Bench) -> tuple[str, bool]:
    kind, trial, images = bench.row.kind, bench.first, bench.first.images[1:BATCH]
    if kind is Kind.NR:
        values = [bench.score(images, bench.metric.prepare(*given)) for given in ((None, None), (trial.hr, trial.lr))]
        same = bool(torch.equal(*values))
        return f"kind NR; the HR image makes {'no' if same else 'a'} difference", same
    try:
        bench.metric.prepare(*((None, trial.lr) if kind is Kind.FR else (trial.hr, None)))
        return f"kind {kind}, and it takes none", False
    except BadInput:
        pass
    other = next((one for one in bench.trials if not torch.equal(one.hr, trial.hr)), None)
    if other is None or bench.row.partial:
        return f"kind {kind}; refuses to do without", True
    same = torch.equal(bench.score(images, bench.context(trial)), bench.score(images, bench.context(other)))
    return f"kind {kind}; another one {'changes nothing' if same else 'gives other values'}", not same


def _sizes(bench: Bench) -> tuple[str, bool]:
    least, trial = max(bench.row.min_size, 1), bench.first

    def at(side: int) -> Tensor:
        lr = trial.lr[..., : max(1, side // 4), : max(1, side // 4)]
        hr = trial.hr[..., :side, :side]
        context = bench.metric.prepare(None if bench.row.kind is Kind.NR else hr, lr)
        return bench.score(trial.images[1:3, :, :side, :side], context)

    smallest = at(least)
    if not bench.row.partial and not bool(torch.isfinite(smallest).all()):
        return f"{least} px, min_size, gives {smallest.tolist()}", False
    if least == 1:
        return "1 px is taken", True
    try:
        at(least - 1)
    except BadInput:
        return f"{least} px is taken, and {least - 1} px refused", True
    return f"{least - 1} px is taken, and min_size is {least}", False


def _digest(bench: Bench) -> tuple[str, bool]:
    found = {bench.metric.digest, digest(bench.name), load(bench.name, bench.device).digest}
    return f"{len(found)} digests of the same metric", len(found) == 1 and bool(bench.metric.digest)


def _direction(degradation: str, bench: Bench) -> tuple[str, bool]:
    """Pairs of strengths, the clean picture's included, that are ranked rightly, of those that are told apart.

    Few pairs say little: two standard errors of a guess are granted.
    """
    row = bench.row
    values = bench.values if row.higher_is_better else -bench.values
    place = list(DEGRADATIONS).index(degradation)
    width = len(DEGRADATIONS[degradation][1])
    columns = [0, *range(1 + place * width, 1 + (place + 1) * width)]
    pairs = [(columns[one], columns[two]) for one in range(len(columns)) for two in range(one + 1, len(columns))]
    difference = np.stack([values[:, better] - values[:, worse] for better, worse in pairs])
    difference = difference[np.isfinite(difference)]
    right, wrong = int((difference > 0).sum()), int((difference < 0).sum())
    told = (right + wrong) / max(len(difference), 1)
    if told < TOLD:
        return f"{1 - told:.0%} of {len(difference)} pairs of strengths have one value", False
    share, chance = right / (right + wrong), 1.0 / math.sqrt(right + wrong)
    hint = "; is higher_is_better the wrong way round?" if share < 1 - RIGHTLY else ""
    return f"{share:.0%} of {right + wrong} pairs of strengths are ranked rightly{hint}", share + chance >= RIGHTLY


def _gradient(bench: Bench) -> tuple[str, bool]:
    if not bench.row.differentiable:
        return "it says that it has none", True
    metric, trial = load_gradual(bench.name, bench.device), bench.first
    images = (0.1 + 0.8 * torch.cat([trial.degraded["blur"][1:3], trial.degraded["noise"][1:2]])).to(bench.device)
    hr = None if bench.row.kind is Kind.NR else trial.hr.to(bench.device)
    values = bench.score(images, bench.context(trial))
    aligned = values if bench.row.higher_is_better else -values
    place = images.clone().requires_grad_(True)
    found = metric(place, None if hr is None else hr.expand_as(images))
    (gradient,) = torch.autograd.grad(found.sum(), place)
    apart = float((found.detach().cpu() - aligned).abs().max()) / bench.unit
    if apart > max(bench.tolerance, 1e-2):
        return f"its values with a gradient are {apart:.2g} deviations from those without", False
    if not bool(torch.isfinite(gradient).all()) or not bool((gradient.flatten(1) != 0).any(1).all()):
        return "the gradient of an image is 0 or not finite", False
    return _rises(metric, images, hr, gradient)


def _rises(metric: Gradual, images: Tensor, hr: Tensor | None, gradient: Tensor) -> tuple[str, bool]:
    """Whether a small step along the gradient raises the values, and a step against it lowers them."""
    step = STEP * gradient / gradient.pow(2).mean((1, 2, 3), keepdim=True).sqrt()
    against = None if hr is None else hr.expand_as(images)
    with torch.no_grad():
        up, here, down = (metric(images + way * step, against) for way in (1.0, 0.0, -1.0))
    holds = bool(((up > here) & (here > down)).all())
    told = f"{float((up - here).mean()):+.2g} and {float((down - here).mean()):+.2g}"
    return f"steps along and against it change the values by {told}", holds


CHECKS: dict[str, tuple[Callable[[Bench], tuple[str, bool]], str]] = {
    "shape": (_shape, "return one value an image, [M] float32, on the CPU"),
    "values": (
        _finite,
        "a photo must have a finite value; NaN for all candidates of an HR is for `partial` metrics, which need "
        "photos that they are defined for: give some with --photos",
    ),
    "range": (_range, "write value_range as `low .. high`, with ~ before an end that values may pass"),
    "determinism": (_determinism, "draw nothing, keep nothing of earlier calls, put networks into eval mode"),
    "batch independence": (_batch, "no image may depend on another: no batch statistics; or set batched=False"),
    "inputs stay": (_inputs, "do not write to what you are given: clone it, or use operations that are not in place"),
    "reference": (_reference, "kind says what is compared: FR the HR image, LR the LR input, NR nothing"),
    "sizes": (_sizes, "min_size is the shortest side, px, from which it is defined; smaller pictures are refused"),
    "digest": (_digest, "the digest names code, weights and package versions, and nothing that changes by itself"),
    **{
        f"direction: {name}": (
            partial(_direction, name),
            "a reward made of it is raised by this: keep it out of score.fr and score.nr, or turn higher_is_better",
        )
        for name in DEGRADATIONS
    },
    "gradient": (_gradient, "set differentiable=False, or let gradients through: no rounding, no detach, no numpy"),
}
"""By the promise's name: what tries it, and what to change where it does not hold."""
