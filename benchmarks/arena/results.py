"""results.json: what the arena found, typed, so that others can read it. Pure but for the file."""

from pathlib import Path
from typing import ClassVar

from components.artifacts.documents import Document, Section

RULE = (
    "most reward among the compositions whose trainings all ended, of which no guard rose by more than gate.guards "
    "allows and no fidelity fell by more than gate.fidelity does, both as means against the base"
)
"""Written before any run: how the best composition is chosen."""
MULTIPLE = "Holm, over all compositions of the table's column; in the matrix over all its pairs"


class Difference(Section):
    """A mean difference over photos and training seeds.

    Attributes:
        mean: with its interval from `ci_low` to `ci_high`.
        p: two-sided.
        p_adjusted: for the number of comparisons, see `Results.multiple`.
        detectable: the smallest true difference that this design finds with a chance of 80 %.
        bound: with the interval's confidence the true difference is smaller, whatever its sign.
        significant: whether p_adjusted is below 1 - confidence.
    """

    mean: float
    ci_low: float
    ci_high: float
    p: float
    p_adjusted: float
    detectable: float
    bound: float
    significant: bool


class Passes(Section):
    """Network passes of one training with its data, see `benchmarks.arena.budget`."""

    rollouts: int
    judge: int
    training: int


class Point(Section):
    """A validation along the trainings: mean reward over seeds, the least and the largest."""

    passes: float
    reward: float
    low: float
    high: float


class Seconds(Section):
    """Mean wall time of a training and of its judgement, s."""

    training: float
    judging: float


class Entry(Section):
    """One composition.

    Attributes:
        settings: its change of the shared settings, as YAML.
        learning_rate: chosen by the search.
        tries: validation reward by learning rate tried.
        tries_diverged: learning rates whose training ended early.
        seeds: training seeds that are judged.
        diverged: seeds whose training ended early, with the reason.
        passes: mean over seeds.
        steps: optimiser steps, of each seed.
        figures: mean of reward, metrics, guards and diversity.
        differences: from the base.
        each_seed: reward's difference from the base, by seed.
        win_rate: share of restorations with a higher reward than the base's of the same noise; .5 is a tie.
        over_standard: the reward's difference from the standard composition, paired by seed; null of itself.
        curve: validation reward along the training.
        broken: guards and fidelities beyond their limit.
    """

    table: str
    about: str
    settings: str
    learning_rate: float
    tries: dict[str, float]
    tries_diverged: list[str]
    seeds: list[int]
    diverged: dict[str, str]
    passes: Passes
    steps: list[int]
    seconds: Seconds
    figures: dict[str, float]
    differences: dict[str, Difference]
    each_seed: dict[str, float]
    win_rate: Difference
    over_standard: Difference | None = None
    curve: list[Point]
    broken: list[str]


class Results(Document):
    """All compositions that are judged.

    Attributes:
        version: of this schema.
        complete: whether nothing of the recipe is left to do.
        images, photos, restorations: what was judged.
        passes: the budget of a composition.
        checkpoint: of a training, what was judged.
        base: figures of the untrained model.
        base_validation: reward that validation curves start at.
        higher_is_better: by figure.
        matrix: the reward's difference of the row less the column, paired by seed.
        best: by `rule`; null where none is allowed, or none leads the base.
        multiple: how p-values are adjusted.
        digests: of the base's weights, the metrics, and what all share: the dataset, and how the model is sampled and
            judged; rows of another arena can be added where these are the same.
    """

    path: ClassVar[Path] = Path("results.json")
    made_by: ClassVar[str] = "python -m benchmarks.arena"

    version: int = 1
    complete: bool
    images: int
    photos: int
    restorations: int
    passes: int
    checkpoint: str
    confidence: float
    standard: str
    fidelity: str
    perception: str
    base: dict[str, float]
    base_validation: float
    higher_is_better: dict[str, bool]
    compositions: dict[str, Entry]
    matrix: dict[str, dict[str, Difference]]
    best: str | None = None
    rule: str = RULE
    multiple: str = MULTIPLE
    digests: dict[str, str]
