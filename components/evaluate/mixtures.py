"""Base and aligned mixed in several ways, on the same images and noise: the curve of fidelity over perception."""

from collections.abc import Mapping, Sequence

from components.artifacts.evaluation import Mixture, MixtureMeasure
from components.backbones.loading import SavedModel
from components.backbones.mixing import source_of
from components.evaluate.comparison import Scored
from components.evaluate.evaluator import Evaluator
from components.judge.restorers import Restorer
from components.settings import MixtureSettings

_OF_BRANCH = {"reference": "base", "policy": "aligned"}


def model_of(mixture: MixtureSettings) -> str:
    """Name of a mixture among the models; that of a branch where it is one, which is then not restored again."""
    return _OF_BRANCH[mixture.branch] if mixture.branch else mixture.name


def mixture_restorers(evaluator: Evaluator, model: SavedModel) -> list[Restorer]:
    """Those of the settings' mixtures that are no branch; `model` has both branches."""
    return [
        evaluator.saved(mixture.name, model, source_of(mixture))
        for mixture in evaluator.settings.evaluate.mixtures
        if mixture.branch is None
    ]


def mixture_figures(
    evaluator: Evaluator, mixtures: Sequence[MixtureSettings], scored: Mapping[str, Scored]
) -> dict[str, Mixture]:
    """Each mixture against the base, paired by image and noise, by name."""
    return {mixture.name: _figures(evaluator, mixture, scored) for mixture in mixtures}


def _figures(evaluator: Evaluator, mixture: MixtureSettings, scored: Mapping[str, Scored]) -> Mixture:
    compared = evaluator.compare(scored["base"], scored[model_of(mixture)])
    return Mixture(
        **mixture.model_dump(),
        passes=mixture.passes(evaluator.settings.backbone.steps),
        measures={
            name: MixtureMeasure(
                value=row.aligned,
                difference=row.difference,
                ci_low=row.ci_low,
                ci_high=row.ci_high,
                higher_is_better=row.higher_is_better,
                in_reward=row.in_reward,
            )
            for name, row in compared.measures.items()
        },
    )
