"""From the scores of all models to the document that evaluate publishes. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from components.artifacts.evaluation import (
    Comparison,
    Control,
    ControlDifference,
    Difference,
    Evaluation,
    Failure,
)
from components.evaluate.anatomy import anatomy
from components.evaluate.comparison import Scored, headline, means
from components.evaluate.controls import Tuned
from components.evaluate.evaluator import Evaluator
from components.evaluate.mixtures import mixture_figures
from components.rewards.normaliser import FixedNormaliser


@dataclass(frozen=True)
class Controlled:
    """A control at its best value, and its scores on the test images."""

    tuned: Tuned
    scored: Scored


def evaluated(
    evaluator: Evaluator,
    scored: Mapping[str, Scored],
    controls: Mapping[str, Controlled],
    normaliser: FixedNormaliser,
    failures: Sequence[Mapping[str, str | int]],
    digests: Mapping[str, str],
) -> Evaluation:
    """All figures; those of images with and without HR apart, whose rewards are other formulas.

    Args:
        scored: by model: `base`, `aligned`, the mixtures, and the peers.
        normaliser: of the rewards.
        failures: scores that are missing, of all models.
        digests: as the document has them.
    """
    settings, images = evaluator.settings, evaluator.of_kind(evaluator.has_hr)
    base, aligned = scored["base"], scored["aligned"]
    others = evaluator.has_hr and evaluator.of_kind(has_hr=False)
    without_hr = evaluator.compare(base, aligned, has_hr=False) if others else None
    compared = evaluator.compare(base, aligned)
    return Evaluation(
        **dict(compared),
        seeds=settings.evaluate.seeds,
        bootstrap=settings.evaluate.bootstrap,
        clusters="source photo",
        peers={name: means(scored[name].of_images(images), evaluator.metrics) for name in settings.evaluate.peers},
        mixtures=mixture_figures(evaluator, settings.evaluate.mixtures, scored),
        controls={name: _control(evaluator, aligned, found) for name, found in controls.items()},
        anatomy=anatomy(
            base.of_images(images),
            aligned.of_images(images),
            settings.score.fr,
            settings.score.nr,
            normaliser,
            evaluator.images.photos,
        ),
        failed_scores=len(failures),
        failures=tuple(Failure.model_validate(failure) for failure in failures),
        digests=dict(digests),
        metric_digests={name: evaluator.judge.digests[name] for name in evaluator.metrics},
        headline=_headline(compared, without_hr),
        has_hr=evaluator.has_hr,
        without_hr=without_hr,
    )


def _headline(compared: Comparison, without_hr: Comparison | None) -> str:
    if without_hr is None:
        return headline(compared)
    return f"images with HR: {headline(compared)}; images without HR: {headline(without_hr)}"


def _control(evaluator: Evaluator, aligned: Scored, control: Controlled) -> Control:
    compared = evaluator.compare(control.scored, aligned)
    return Control(
        value=control.tuned.value,
        validation_rewards=control.tuned.rewards,
        reward=_against(compared.reward),
        metrics={name: _against(row) for name, row in compared.metrics.items()},
        win_rate=compared.win_rate,
    )


def _against(row: Difference) -> ControlDifference:
    """The same with the control in the base's place."""
    return ControlDifference(
        control=row.base,
        aligned=row.aligned,
        difference=row.difference,
        ci_low=row.ci_low,
        ci_high=row.ci_high,
        verdict=row.verdict,
    )
