"""How much there is to do: counts that follow from params.yaml, and the number of LR images."""

from dataclasses import dataclass, field
from pathlib import Path

from components.artifacts import paths, tables
from components.backbones.restore import BLOCK
from components.plan.figures import Shape
from components.plan.published import LR_IMAGES
from components.settings import PRDPSource, RolledSource, Settings

PRECISIONS = {"no": None, "bf16": "bfloat16", "fp16": "float16"}


@dataclass(frozen=True)
class LRImages:
    """LR images that get candidates and that are tested on, and how that is known."""

    candidates: int
    test: int
    known_from: str

    @classmethod
    def of(cls, settings: Settings, root: Path | None, count: int | None) -> "LRImages":
        """`count` of all splits if given, else those of data/dataset.parquet below `root`, else the paper's.

        Raises:
            BadInput: the table is damaged.
        """
        path = None if root is None else root / paths.DATASET_ROWS
        if count is None and path is not None and path.is_file():
            rows = [row["split"] for row in tables.read_rows(path, tables.DATASET)]
            wanted = sum(split in settings.generate.splits for split in rows)
            return cls(wanted, rows.count("test"), paths.DATASET_ROWS.as_posix())
        known_from = "the paper's 30,000; --lr-images sets it" if count is None else "--lr-images"
        everything = LR_IMAGES if count is None else count
        split = settings.prepare.split
        fractions = {"align": split.align, "validation": split.validation, "test": split.test}
        wanted = sum(round(everything * fractions[name]) for name in settings.generate.splits)
        return cls(wanted, round(everything * split.test), known_from)


@dataclass(frozen=True)
class Workload:
    """Counts of one run.

    Attributes:
        lr_images: see `LRImages`.
        candidates: all that generate makes, in all rounds of a training.
        rounds: of it.
        padding: rows that are sampled a candidate; above 1 where batches are filled up with copies.
        rows: candidates that a group takes to a training pass.
        pairs: that a group gives.
        step_rows: rows of an optimiser step.
        validated: candidates of all validations of a training.
        evaluated: candidates of the evaluation of base and aligned model, and of their mixtures.
        mixed: of those, as candidates' worth, what mixtures take beyond one prediction a step.
        rolled: candidates of a training's own roll-outs; 0 where it has none.
        verdicts: values of rewarded metrics that they take.
        kept_states: states of their trajectories that are kept at a time, all processes together.
        judge_calls: calls of score.judges' models, by kind.
    """

    lr_images: LRImages
    candidates: int
    rounds: int
    padding: float
    rows: int
    pairs: int
    step_rows: int
    validated: int
    evaluated: int
    mixed: float
    rolled: int = 0
    verdicts: int = 0
    kept_states: int = 0
    judge_calls: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: Settings, lr_images: LRImages, block: int) -> "Workload":
        """Counts of a run whose sampling calls are of `block` rows."""
        generate, train = settings.generate, settings.train
        rows, pairs = _group(settings)
        padded = sum(
            -(-min(generate.batch, generate.candidates - at) // block) * block
            for at in range(0, generate.candidates, generate.batch)
        )
        steps = settings.backbone.steps
        mixtures = [mixture for mixture in settings.evaluate.mixtures if mixture.branch is None]
        each = lr_images.test * settings.evaluate.seeds
        # once for the reference, which fixes the normaliser, once before the first step, then on schedule
        validations = train.rounds * (2 + -(-train.steps // train.validate_every))
        rolled, kept = _rolled(settings)
        return cls(
            lr_images,
            train.rounds * lr_images.candidates * generate.candidates,
            train.rounds,
            padded / generate.candidates,
            rows,
            pairs,
            rows * train.groups_per_step * _passes(settings),
            validations * train.validation_images * train.validation_seeds,
            (2 + len(mixtures)) * each,
            sum(mixture.passes(steps) / steps - 1.0 for mixture in mixtures) * each,
            rolled,
            rolled * (len(settings.score.fr) + len(settings.score.nr)),
            kept,
            {judge.kind: lr_images.candidates * judge.calls(generate.candidates) for judge in settings.score.judges},
        )


def sampling_block(settings: Settings, on_cpu: bool) -> int:
    """Rows of every sampling call, see `backbones.restore.sample_rows`."""
    return settings.backbone.rows_a_call or BLOCK["cpu" if on_cpu else "cuda"]


def shape_of(settings: Settings, block: int) -> Shape:
    """What the networks are run on."""
    rows, _ = _group(settings)
    return Shape(settings.prepare.crop, block, rows * settings.train.micro_batch, PRECISIONS[settings.train.precision])


def _group(settings: Settings) -> tuple[int, int]:
    """Rows and pairs of one group at most, see `pair.builders` and `train.groups`."""
    builder, source = settings.pair.builder, settings.train.source
    if not source.of_pairs:
        return (source.candidates if isinstance(source, RolledSource) else 1), 0
    rows, pairs = builder.counts(settings.pair.candidates or settings.generate.candidates)
    if builder.losers and settings.train.noise_shared_by == "pair":
        taken = min(settings.train.pairs_per_group or pairs, pairs)
        return 2 * taken, taken
    return rows, pairs


def rollout_steps(settings: Settings) -> int:
    """Steps of a sampling in a roll-out."""
    source = settings.train.source
    own: int = settings.backbone.steps
    return (source.steps if isinstance(source, RolledSource) else None) or own


def _passes(settings: Settings) -> int:
    """Passes that a row of a group takes in an optimiser step: those of all sampling steps that draw, with PRDP."""
    return rollout_steps(settings) - 1 if isinstance(settings.train.source, PRDPSource) else 1


def _rolled(settings: Settings) -> tuple[int, int]:
    """Candidates of all roll-outs of a training, and states of one that are kept: x_T to the last, or clean latents."""
    train, source = settings.train, settings.train.source
    if not isinstance(source, RolledSource):
        return 0, 0
    each = train.groups_per_step * source.candidates
    states = rollout_steps(settings) + 2 if isinstance(source, PRDPSource) else 1
    return -(-train.steps // source.inner_steps) * each, each * states
