"""May the challenger become the champion? Measurements of both in, one row a check out. Pure.

The gate fails closed: what was not measured, is not a number, or was measured on other images or with other metrics is
a "no" that says so. A tie is not a win. Every check must say yes; there is no trading of one against another.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.artifacts.gate_report import Check
from components.gate.people import Preference, people
from components.judge.bootstrap import ClusterBootstrap, wins
from components.metrics.suite import applicable
from components.metrics.table import info
from components.settings.gate import GateSettings

Key = tuple[str, int]
"""lr_id and index of a restoration; both models restore it with the same noise."""
Values = NDArray[np.float64]

REWARD = "reward"
GATE_REVISION = 2
"""Part of what a report is an answer to: raise it when the same measurements may get another verdict."""
BOUND_QUANTILE = 0.95
"""A guard's bound holds for this part of the restorations: one odd photo is no hack, one in twenty is."""


@dataclass(frozen=True)
class BenchmarkImage:
    """Source photo's digest, and whether there is an HR, without which FR metrics do not apply."""

    photo: str
    has_hr: bool


@dataclass(frozen=True)
class Benchmark:
    """What the gate expects to have been measured.

    Attributes:
        digest: of the frozen set.
        images: by lr_id.
        seeds: restorations an image.
        metrics: digests of all metrics by name.
        held_out: those that are judged for non-inferiority.
    """

    digest: str
    images: Mapping[str, BenchmarkImage]
    seeds: int
    metrics: Mapping[str, str]
    held_out: Sequence[str]

    @property
    def keys(self) -> list[Key]:
        """All restorations."""
        return [(lr_id, index) for lr_id in sorted(self.images) for index in range(self.seeds)]


@dataclass(frozen=True)
class Evidence:
    """Measurements of one model.

    Attributes:
        benchmark: digest of the set they were taken on.
        metrics: digests of the metrics they were taken with.
        rows: by restoration, values by name: `reward`, metrics (raw), guards.
        diversity: spread over seeds by lr_id, grey levels.
        seconds: median time of one restoration.
        memory_mb: peak while restoring.
    """

    benchmark: str
    metrics: Mapping[str, str]
    rows: Mapping[Key, Mapping[str, float]]
    diversity: Mapping[str, float]
    seconds: float
    memory_mb: float


Rewards = Mapping[Key, float]
"""Reward of each restoration."""


def judge(
    champion: Evidence,
    challenger: Evidence,
    benchmark: Benchmark,
    limits: GateSettings,
    controls: Mapping[str, Rewards] | None = None,
    asked: Preference | None = None,
) -> list[Check]:
    """All checks, always in the same order and whatever fails before.

    Args:
        controls: rewards of what the champion gives under `limits.controls`, by control.
        asked: what people said, where `limits.study` asks for it.
    """
    if not benchmark.images:
        return [_check("images", 0.0, limits.min_images, False, "the benchmark set is empty")]
    comparison = _Comparison(champion, challenger, benchmark, limits)
    return [
        *_identity(champion, challenger, benchmark),
        *_size(benchmark, limits),
        _complete("champion", champion, benchmark, limits),
        _complete("challenger", challenger, benchmark, limits),
        *comparison.reward(),
        *(comparison.control(name, factor, (controls or {}).get(name)) for name, factor in limits.controls.items()),
        *(comparison.held_out(name) for name in benchmark.held_out if name not in limits.fidelity),
        *(check for name in limits.fidelity for check in comparison.fidelity(name)),
        *(check for name in limits.guards for check in comparison.guard(name)),
        *comparison.diversity(),
        *([people(limits.study, asked)] if limits.study else []),
        *_budget(champion, challenger, limits),
    ]


def _check(name: str, value: float | str | None, threshold: float | str, good: bool, reason: str) -> Check:
    return Check(name=name, value=value, threshold=threshold, verdict="yes" if good else "no", reason=reason)


def _identity(champion: Evidence, challenger: Evidence, benchmark: Benchmark) -> list[Check]:
    checks = []
    for label, evidence in (("champion", champion), ("challenger", challenger)):
        same = evidence.benchmark == benchmark.digest
        why = "measured on the frozen set" if same else "measured on another set: freeze a new version and measure both"
        checks.append(_check(f"benchmark set, {label}", evidence.benchmark, benchmark.digest, same, why))
        changed = sorted(
            name
            for name in benchmark.metrics.keys() | evidence.metrics.keys()
            if benchmark.metrics.get(name) != evidence.metrics.get(name)
        )
        why = f"not as frozen: {', '.join(changed)}" if changed else "all metrics are as frozen"
        checks.append(_check(f"metric digests, {label}", float(len(changed)), 0.0, not changed, why))
    return checks


def _size(benchmark: Benchmark, limits: GateSettings) -> list[Check]:
    photos = len({image.photo for image in benchmark.images.values()})
    return [
        _check(name, float(count), float(least), count >= least, f"{count} {name}, at least {least} are wanted")
        for name, count, least in (
            ("images", len(benchmark.images), limits.min_images),
            ("photos", photos, limits.min_photos),
            ("held-out metrics", len(benchmark.held_out), 1),  # without one, nothing judges but what was optimised
        )
    ]


def _complete(label: str, evidence: Evidence, benchmark: Benchmark, limits: GateSettings) -> Check:
    missing = [
        f"{name} of {lr_id}/{index}"
        for lr_id, index in benchmark.keys
        for name in _expected(benchmark, lr_id, limits)
        if not math.isfinite(evidence.rows.get((lr_id, index), {}).get(name, math.nan))
    ]
    missing += [f"diversity of {lr_id}" for lr_id in benchmark.images if lr_id not in evidence.diversity]
    extra = sorted(evidence.rows.keys() - set(benchmark.keys))
    why = f"missing or not finite: {'; '.join(missing[:3])}" if missing else "every restoration has every value"
    if extra:
        why = f"{len(extra)} restorations are not of the set, first {extra[0]}; {why}"
    return _check(f"values missing, {label}", float(len(missing)), 0.0, not missing and not extra, why)


def _expected(benchmark: Benchmark, lr_id: str, limits: GateSettings) -> list[str]:
    metrics = [name for name in benchmark.metrics if name not in limits.fidelity]
    always = [name for name in metrics if not info(name).partial]  # the others are undefined for some images
    return [REWARD, *applicable([*always, *limits.fidelity], benchmark.images[lr_id].has_hr), *limits.guards]


def _budget(champion: Evidence, challenger: Evidence, limits: GateSettings) -> list[Check]:
    ratio = challenger.seconds / champion.seconds if champion.seconds > 0.0 else math.nan
    rows = (
        ("latency of the champion's", ratio, limits.max_latency_ratio, "times the champion's"),
        ("latency", challenger.seconds, limits.max_seconds, "s a restoration"),
        ("memory", challenger.memory_mb, limits.max_memory_mb, "MB while restoring"),
    )
    checks = []
    for name, value, most, unit in rows:
        if not math.isfinite(value) or value <= 0.0:
            checks.append(_check(name, None, most, False, "could not be measured"))
        else:
            checks.append(_check(name, value, most, value <= most, f"{value:.4g} {unit}, at most {most:g}"))
    return checks


class _Comparison:
    """Paired statistics of the two; every row says no where a value it needs is missing."""

    def __init__(self, champion: Evidence, challenger: Evidence, benchmark: Benchmark, limits: GateSettings) -> None:
        self._champion, self._challenger = champion, challenger
        self._benchmark, self._limits = benchmark, limits
        photos = {lr_id: image.photo for lr_id, image in benchmark.images.items()}
        self._lr_ids = sorted(photos)
        self._by_row = self._bootstrap([photos[lr_id] for lr_id, _ in benchmark.keys])
        self._by_image = self._bootstrap([photos[lr_id] for lr_id in self._lr_ids])

    def _bootstrap(self, clusters: list[str]) -> ClusterBootstrap:
        # The seed is fixed: the same measurements must get the same verdict.
        return ClusterBootstrap(clusters, self._limits.bootstrap, self._limits.confidence, seed=0)

    def _pair(self, name: str) -> tuple[Values, Values] | None:
        """Values of champion and challenger `[rows]`, NaN where the metric does not apply; None if one is missing."""
        columns = []
        for evidence in (self._champion, self._challenger):
            values = []
            for lr_id, index in self._benchmark.keys:
                value = evidence.rows.get((lr_id, index), {}).get(name, math.nan)
                if not math.isfinite(value):
                    if name in _expected(self._benchmark, lr_id, self._limits):
                        return None
                    value = math.nan
                values.append(value)
            columns.append(np.array(values))
        if not np.isfinite(columns[0] + columns[1]).any():
            return None
        return columns[0], columns[1]

    def _defined(self, name: str) -> bool:
        """Whether either model has a value of it, on any restoration."""
        both = (self._champion, self._challenger)
        return any(math.isfinite(row.get(name, math.nan)) for evidence in both for row in evidence.rows.values())

    def control(self, name: str, factor: float, rewards: Rewards | None) -> Check:
        """The challenger must beat what the champion gives with another gain or number of steps, untrained."""
        label = f"reward over the champion with {name} x {factor:g}"
        pair = self._pair(REWARD)
        if rewards is None or pair is None or any(key not in rewards for key in self._benchmark.keys):
            return _missing(label, 0.0)
        found = self._by_row.mean(pair[1] - np.array([rewards[key] for key in self._benchmark.keys]))
        why = f"mean {found.mean:+.4f}, interval {found.low:+.4f} .. {found.high:+.4f} must lie above 0"
        return _check(label, found.low, 0.0, found.low > 0.0, why)

    def reward(self) -> list[Check]:
        """Gain and win rate must lie above their thresholds with the whole interval, so that a tie is a no."""
        names, pair, limits = ("reward gain", "win rate"), self._pair(REWARD), self._limits
        thresholds = (limits.min_gain, 0.5)
        if pair is None:
            return [_missing(name, least) for name, least in zip(names, thresholds, strict=True)]
        checks = []
        for name, values, least in zip(names, (pair[1] - pair[0], wins(*pair)), thresholds, strict=True):
            found = self._by_row.mean(values)
            why = f"mean {found.mean:+.4f}, interval {found.low:+.4f} .. {found.high:+.4f} must lie above {least:g}"
            if pair[0].tolist() == pair[1].tolist():
                why = f"a tie is not a win; {why}"
            checks.append(_check(name, found.low, least, found.low > least, why))
        return checks

    def held_out(self, name: str) -> Check:
        """Non-inferiority: the interval's worse end must not exceed the margin."""
        limits, row, pair = self._limits, f"held out {name}", self._pair(name)
        if info(name).partial and not self._defined(name):
            return _check(row, None, 0.0, True, "undefined for every image of the set")
        if pair is None or (info(name).partial and not _same_rows(*pair)):
            return _missing(row, limits.margins.get(name, f"{limits.held_out_margin:g} standard deviations"))
        margin = limits.margins.get(name)
        if margin is None:
            margin = limits.held_out_margin * float(np.nanstd(pair[0]))
        return self._not_worse(row, *pair, margin, info(name).higher_is_better)

    def fidelity(self, name: str) -> list[Check]:
        """Not much below the champion, and above a floor that a chain of small steps down would reach at last."""
        limit, pair = self._limits.fidelity[name], self._pair(name)  # type: ignore[index]  # a Literal's text
        names = (f"fidelity {name} drop", f"fidelity {name}")
        if pair is None:
            return [_missing(names[0], limit.drop), _missing(names[1], limit.floor)]
        mean = float(np.nanmean(pair[1]))
        return [
            self._not_worse(names[0], *pair, limit.drop, info(name).higher_is_better),
            _check(names[1], mean, limit.floor, mean >= limit.floor, f"mean {mean:.4g}, at least {limit.floor:g}"),
        ]

    def guard(self, name: str) -> list[Check]:
        """Not much above the champion, and below a bound that does not move with champions."""
        limit, pair = self._limits.guards[name], self._pair(name)  # type: ignore[index]  # a Literal's text
        names = (f"guard {name} rise", f"guard {name}")
        if pair is None:
            return [_missing(names[0], limit.rise), _missing(names[1], limit.bound)]
        high = float(np.nanquantile(pair[1], BOUND_QUANTILE))
        why = f"{high:.4g} at the {BOUND_QUANTILE:.0%} quantile of the restorations, at most {limit.bound:g}"
        return [
            self._not_worse(names[0], *pair, limit.rise, higher_is_better=False),
            _check(names[1], high, limit.bound, high <= limit.bound, why),
        ]

    def diversity(self) -> list[Check]:
        """The spread over seeds may shrink, not collapse: one picture whatever the seed is a hacked policy."""
        limits = self._limits
        names = ("diversity of the champion's", "diversity")
        thresholds = (limits.min_diversity_ratio, limits.min_diversity)
        before, after = (
            np.array([evidence.diversity.get(lr_id, math.nan) for lr_id in self._lr_ids])
            for evidence in (self._champion, self._challenger)
        )
        if not (np.isfinite(before).all() and np.isfinite(after).all()):
            return [_missing(name, least) for name, least in zip(names, thresholds, strict=True)]
        mean = float(after.mean())
        ratio = mean / float(before.mean()) if before.mean() > 0.0 else math.nan
        # A mean of quotients is at the mercy of flat images; the quotient of means is at least r exactly if the mean of
        # after - r * before is at least 0, and that has an interval.
        found = self._by_image.mean(after - limits.min_diversity_ratio * before)
        good = math.isfinite(ratio) and found.low >= 0.0
        why = f"{ratio:.3g} of the champion's, with its interval at least {limits.min_diversity_ratio:g}"
        enough = mean >= limits.min_diversity
        return [
            _check(names[0], ratio, thresholds[0], good, why),
            _check(names[1], mean, thresholds[1], enough, f"{mean:.3g} grey levels over seeds"),
        ]

    def _not_worse(self, name: str, before: Values, after: Values, margin: float, higher_is_better: bool) -> Check:
        harm = self._by_row.mean(before - after if higher_is_better else after - before)
        why = f"worse by {harm.mean:+.4g}, interval {harm.low:+.4g} .. {harm.high:+.4g}, its end at most {margin:.4g}"
        return _check(name, harm.high, margin, harm.high <= margin, why)


def _same_rows(before: Values, after: Values) -> bool:
    """Whether both have values of the same restorations: it is the HR alone that leaves a metric undefined."""
    return bool((np.isfinite(before) == np.isfinite(after)).all())


def _missing(name: str, threshold: float | str) -> Check:
    return _check(name, None, threshold, False, "a value is missing or not finite: see values missing")
