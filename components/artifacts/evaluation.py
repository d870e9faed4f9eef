"""reports/evaluation.json: base against aligned, with peers and controls, in figures."""

from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import Field

from components.artifacts import paths
from components.artifacts.documents import Document, Section

DEVIATION_STEPS = 4
"""Steps of a grey level in the pictures of seeds' deviations: 255 is 63.75 grey levels and more."""
Verdict = Literal["better", "worse", "no significant change"]


def deviation_member(lr_id: str, model: str) -> str:
    """Name in data/evaluation/images.tar of the picture of where a model's seeds disagree."""
    return f"{lr_id}.{model}.deviation.png"


class Estimate(Section):
    """A figure with its confidence interval."""

    value: float
    ci_low: float
    ci_high: float


class Difference(Section):
    """One measure, the reward or a metric, of base and aligned model.

    Attributes:
        base: mean of the base's restorations.
        aligned: mean of the aligned model's, with the same noise.
        difference: aligned less base, with its interval from `ci_low` to `ci_high`.
        spread: standard deviation of the base's restorations.
        in_reward: whether the reward contains it.
        verdict: `better` or `worse` where the interval excludes zero.
    """

    base: float
    aligned: float
    difference: float
    ci_low: float
    ci_high: float
    spread: float
    higher_is_better: bool
    in_reward: bool
    verdict: Verdict


class BestMeanWorst(Section):
    """Expected reward of the best, the average and the worst of some restorations of an LR."""

    best: float
    mean: float
    worst: float


class Spreads(Section):
    """Best, mean and worst by the number of restorations, of each model."""

    base: dict[str, BestMeanWorst]
    aligned: dict[str, BestMeanWorst]

    def __iter__(self) -> Iterator[tuple[str, dict[str, BestMeanWorst]]]:  # type: ignore[override]  # not of fields
        """Both models by name."""
        yield "base", self.base
        yield "aligned", self.aligned


class Comparison(Section):
    """Base against aligned on images that are rewarded by one formula: all have an HR, or none has.

    Attributes:
        images: number of LR images.
        photos: of source photos, the clusters of the intervals.
        pairs: of restorations with the same noise under both models.
        confidence: of all intervals.
        win_rate: share of pairs in which the aligned model's reward is higher.
        metrics: by name; those that no image has a value of are absent.
    """

    images: int
    photos: int
    pairs: int
    confidence: float
    reward: Difference
    win_rate: Estimate
    metrics: dict[str, Difference]
    best_mean_worst: Spreads

    @property
    def measures(self) -> dict[str, Difference]:
        """The reward, then all metrics."""
        return {"reward": self.reward, **self.metrics}

    @property
    def held_out(self) -> dict[str, Difference]:
        """Metrics that the reward does not contain."""
        return {name: row for name, row in self.metrics.items() if not row.in_reward}


class ControlDifference(Section):
    """One measure of a control and of the aligned model; see `Difference`."""

    control: float
    aligned: float
    difference: float
    ci_low: float
    ci_high: float
    verdict: Verdict


class Control(Section):
    """The untrained base with another gain or number of steps.

    Attributes:
        value: gain or steps, tuned on validation.
        validation_rewards: mean reward by value tried.
    """

    value: float
    validation_rewards: dict[str, float]
    reward: ControlDifference
    metrics: dict[str, ControlDifference]
    win_rate: Estimate

    @property
    def measures(self) -> dict[str, ControlDifference]:
        """The reward, then all metrics."""
        return {"reward": self.reward, **self.metrics}


class MixtureMeasure(Section):
    """One measure, the reward or a metric, of a mixture.

    Attributes:
        value: mean of the mixture's restorations.
        difference: the same less the base's, with the same noise; its interval is from `ci_low` to `ci_high`.
        in_reward: whether the reward contains it.
    """

    value: float
    difference: float
    ci_low: float
    ci_high: float
    higher_is_better: bool
    in_reward: bool


class Mixture(Section):
    """Base and aligned model mixed while they sample, see `settings.mixture`.

    Attributes:
        preference: that a policy with a dial was told; None where it was told none.
        passes: predictions of one sampling, by either branch.
        measures: the reward, then all metrics.
    """

    strength: float
    power: float
    start: float
    preference: float | None = None
    passes: int
    measures: dict[str, MixtureMeasure]


class Halves(Section):
    """What the full-reference and the no-reference half of the reward add to its difference."""

    fr: float
    nr: float


class SeedSpread(Section):
    """Mean standard deviation of the reward over the seeds of an image; None with one seed."""

    base: float | None = None
    aligned: float | None = None


class SeedDeviation(Section):
    """Mean over images and pixels of the standard deviation over seeds, grey levels: what the LR does not determine."""

    base: float
    aligned: float


class Anatomy(Section):
    """What a gain is made of; see `evaluate.anatomy`."""

    halves: Halves | None = None
    spread: SeedSpread
    reward_against: dict[str, float]


class Failure(Section):
    """A score that is missing."""

    model: str
    lr_id: str
    index: int
    metric: str
    reason: str
    detail: str


class Evaluation(Comparison, Document):
    """The whole document. Its own figures are of the images with HR; of those without, where none has one.

    Attributes:
        seeds: restorations an image.
        bootstrap: resamples.
        clusters: what was resampled.
        peers: means by peer and measure, on the same images.
        controls: by name.
        mixtures: those of `evaluate.mixtures`, by name and in their order; left out of the file where there are none.
        failed_scores: number of `failures`.
        digests: of models by name, and of sampler, metrics and normaliser.
        metric_digests: by metric.
        seed_deviation: how far the restorations of one image are apart; None with one seed.
        headline: what changed, in one line.
        has_hr: whether the images of these figures have an HR.
        without_hr: the same figures of the images without HR, where there are both kinds: their reward has another
            formula (`lr_consistency` in place of full-reference metrics), so no mean is taken over both.
    """

    path: ClassVar = paths.EVALUATION
    made_by: ClassVar = "evaluate"

    seeds: int
    bootstrap: int
    clusters: str
    peers: dict[str, dict[str, float]]
    controls: dict[str, Control]
    mixtures: dict[str, Mixture] = Field(default={}, exclude_if=lambda mixtures: not mixtures)
    anatomy: Anatomy
    failed_scores: int
    failures: tuple[Failure, ...]
    digests: dict[str, str]
    metric_digests: dict[str, str]
    seed_deviation: SeedDeviation | None = None
    headline: str
    has_hr: bool
    without_hr: Comparison | None = None

    @property
    def kinds(self) -> dict[str, Comparison]:
        """Figures by what they are of, for people."""
        own = "images with HR" if self.has_hr else "images without HR"
        return {own: self} | ({"images without HR": self.without_hr} if self.without_hr is not None else {})
