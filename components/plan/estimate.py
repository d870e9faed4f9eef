"""From counts and passes to hours, memory and bytes: arithmetic only, with every assumption named here."""

from dataclasses import dataclass

from components.plan.figures import Figures, total
from components.plan.gpus import Gpu, Precision
from components.plan.published import seconds_a_candidate, utilisation
from components.plan.workload import PRECISIONS, Workload, rollout_steps
from components.settings import NFTSource, Settings
from components.settings.families import family_of

GIB = 2**30

CONTEXT_BYTES = GIB
"""CUDA's context and its libraries' workspaces."""

FRAGMENTATION = 0.1
"""Of the activations, lost between the allocator's blocks."""

TRAINING_UTILISATION = 0.3
SMALL_MODEL_UTILISATION = 0.05
"""Assumed: nobody has published either."""

PNG_BYTES = 0.54
"""Of an image's raw bytes, on average over the 74 photos of data/photos; 0.41 to 0.66 for the middle four fifths."""

SHARD_BYTES = (256e6, 1e9)
"""Tar shards that are neither many nor unwieldy."""

ONE_JOB_STAGES = ("prepare", "pair", "train", "evaluate", "report", "register")
SHARDED_STAGES = ("generate", "score")


FSDP = "train, FSDP2"
"""Of the peaks, the one whose policy is spread over the GPUs; see launch/fsdp2.yaml."""


@dataclass(frozen=True)
class Stage:
    """GPU work of a stage.

    Attributes:
        work: what is done, for people.
        flop: of all of it.
        utilisation: fraction of the rate that is kept up.
        parallel: how many of the GPUs compute; the others wait and are paid for.
        seconds: wall clock.
        gpu_hours: of all GPUs that are held.
    """

    name: str
    work: str
    flop: int
    utilisation: float
    parallel: int
    seconds: float
    gpu_hours: float


@dataclass(frozen=True)
class Memory:
    """Peak of one GPU in a stage, bytes."""

    stage: str
    weights: int
    gradients: int
    optimizer: int
    buckets: int
    activations: int
    overhead: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.gradients + self.optimizer + self.buckets + self.activations + self.overhead


@dataclass(frozen=True)
class Utilisation:
    """Fractions of the peak that are kept up, and where they are from, for people."""

    sampling: float
    training: float
    origin: str

    @classmethod
    def of(cls, family: str, gpu: Gpu, given: float | None) -> "Utilisation":
        """`given` for all if it is; on a CPU all of what was measured; else the paper's and an assumption."""
        if given is not None:
            return cls(given, given, f"{given:.1%} of peak is --mfu")
        if gpu.sustained:
            return cls(1.0, 1.0, "The CPU's rate is a measured one: 67 GFLOP/s a core, of a small UNet in float32")
        published = family_of(family).published
        if published is None:
            used = SMALL_MODEL_UTILISATION
            return cls(used, used, f"{used:.0%} of peak is assumed, for want of any measurement")
        sampling = utilisation(published)
        return cls(
            sampling,
            TRAINING_UTILISATION,
            f"{sampling:.1%} of peak in sampling is what the paper's {published.hours:g} h on 8 A800 "
            f"imply for {published.preset} ({seconds_a_candidate(published):.2f} GPU-seconds a candidate; half "
            f"precision presumed); {TRAINING_UTILISATION:.0%} in training is assumed, nobody has published it",
        )


def hours(
    settings: Settings, figures: Figures, workload: Workload, gpu: Gpu, gpus: int, used: Utilisation
) -> list[Stage]:
    """Stages that compute on a GPU, in their order.

    Raises:
        BadInput: the GPU lacks a precision that the settings ask for.
    """
    sampling = sampling_precision(settings)
    training = training_precision(settings)
    candidate, condition = total(figures.candidate), total(figures.condition)
    most = ("at most " if settings.train.winner_stop else "") + (f"{workload.rounds} x " if workload.rounds > 1 else "")
    predictions = sum(work.total for work in figures.candidate if work.predicts)
    row = _row(settings, figures)
    steps = settings.train.steps
    sharing = min(gpus, settings.train.validation_images)

    def stage(name: str, work: str, flop: float, precision: Precision, utilisation: float, parallel: int) -> Stage:
        seconds = flop / (gpu.rate(precision) * utilisation * parallel)
        return Stage(name, work, round(flop), utilisation, parallel, seconds, seconds * gpus / 3600)

    lrs = workload.lr_images
    rolled = _rolled(settings, workload, candidate, predictions)
    return [
        stage(
            "generate",
            _generated(workload),
            workload.candidates * candidate * workload.padding + workload.rounds * lrs.candidates * condition,
            sampling,
            used.sampling,
            gpus,
        ),
        stage(
            "train",
            f"{most}{steps:,} steps of {workload.step_rows:,} rows",
            workload.rounds * steps * workload.step_rows * row,
            training,
            used.training,
            gpus,
        ),
        *(stage("train, roll-outs", work, flop, training, used.sampling, gpus) for work, flop in rolled),
        stage(
            "train, validation",
            f"{workload.validated:,} candidates" + (f", dealt to {sharing} GPUs" if sharing > 1 else ""),
            workload.validated * candidate,
            sampling,
            used.sampling,
            sharing,
        ),
        stage(
            "evaluate",
            _evaluated(settings, workload),
            workload.evaluated * candidate + workload.mixed * predictions,
            sampling,
            used.sampling,
            gpus,
        ),
    ]


def _generated(workload: Workload) -> str:
    """Work of generate, in words."""
    padded = f", each sampled {workload.padding:g} times" if workload.padding != 1 else ""
    rounds = f", in {workload.rounds} rounds" if workload.rounds > 1 else ""
    return f"{workload.candidates:,} candidates of {workload.lr_images.candidates:,} LR images{padded}{rounds}"


def _evaluated(settings: Settings, workload: Workload) -> str:
    """Work of evaluate, in words."""
    mixtures = len([mixture for mixture in settings.evaluate.mixtures if mixture.branch is None])
    among = f", {mixtures} mixtures among them" if mixtures else ""
    return f"{workload.evaluated:,} candidates of {workload.lr_images.test:,} LR images{among}"


def _rolled(settings: Settings, workload: Workload, candidate: float, predictions: float) -> list[tuple[str, float]]:
    """Work of a training's roll-outs, in words and in operations; empty where there are none.

    What is done a step of the sampling is as often done as a roll-out has steps.
    """
    if not workload.rolled:
        return []
    own = candidate - predictions + predictions * rollout_steps(settings) / _own_steps(settings)
    work = f"{workload.rolled:,} candidates, {workload.verdicts:,} metric values not counted"
    return [(work, workload.rolled * own)]


def _own_steps(settings: Settings) -> int:
    """Predictions of one of the sampler's own candidates, each twice where it is guided; roll-outs are not."""
    steps: int = settings.backbone.steps
    return steps * (2 if getattr(settings.backbone, "guidance_scale", 1.0) > 1.0 else 1)


def _row(settings: Settings, figures: Figures) -> int:
    """Floating-point operations of a training step, for each row of its batch."""
    operations = total(figures.row)
    source = settings.train.source
    if isinstance(source, NFTSource) and source.reference_weight:  # the old policy, beside policy and reference
        operations += figures.prediction
    if checkpointing(settings):
        operations += total(figures.recomputed)
    if settings.train.safeguard:
        operations += total(figures.shared)
    return operations


def checkpointing(settings: Settings) -> bool:
    """Whether training recomputes activations."""
    return settings.backbone.recomputes


def sampling_precision(settings: Settings) -> Precision:
    """What most of sampling is computed in; the embedded model samples in float32."""
    return settings.backbone.frozen_dtype


def training_precision(settings: Settings) -> Precision:
    """What most of a training step is computed in."""
    lowered = PRECISIONS[settings.train.precision]
    return "bfloat16" if lowered == "bfloat16" else "float16" if lowered == "float16" else "float32"


def memory(figures: Figures, gpus: int, checkpointed: bool) -> tuple[Memory, ...]:
    """Peaks of one GPU: generate; train as `checkpointed` says, and the other way where there is one.

    Every GPU holds all weights; gradients are float32, AdamW keeps two float32 values a trained parameter, and
    DistributedDataParallel a second copy of the gradients. The optimiser step's temporaries take the activations'
    place. FSDP2 spreads the policy, its gradients and AdamW's values over the GPUs; its blocks that are gathered for
    a moment are not counted.
    """
    weights = sum(part.bytes for part in figures.parts if not part.on_host)
    trained = 4 * figures.trained
    policy = sum(part.bytes for part in figures.parts if part.trained)

    def overhead(activations: int) -> int:
        return CONTEXT_BYTES + round(FRAGMENTATION * activations)

    peaks = [Memory("generate", weights, 0, 0, 0, figures.sampling_bytes, overhead(figures.sampling_bytes))]
    for on in (checkpointed, not checkpointed):
        if on not in figures.training_bytes:
            continue
        activations = max(figures.training_bytes[on], trained)
        name = "train" if on == checkpointed else f"train, checkpointing {'on' if on else 'off'}"
        buckets = trained if gpus > 1 else 0
        peaks.append(Memory(name, weights, trained, 2 * trained, buckets, activations, overhead(activations)))
    if gpus > 1:
        share = trained // gpus
        activations = max(figures.training_bytes[checkpointed], share)
        split = weights - policy + policy // gpus
        peaks.append(Memory(FSDP, split, share, 2 * share, 0, activations, overhead(activations)))
    return tuple(peaks)


@dataclass(frozen=True)
class Storage:
    """What generate leaves on disk.

    Attributes:
        png, latents: bytes of all.
        shards: tar files, one Job each on a cluster.
        suggested: number of shards that makes them of a handy size; `shards` where they are.
        jobs: Kubernetes Jobs of a whole run.
    """

    png: float
    latents: float
    shards: int
    suggested: int
    jobs: int

    @property
    def total(self) -> float:
        """Bytes of all candidates."""
        return self.png + self.latents


def storage(settings: Settings, figures: Figures, workload: Workload) -> Storage:
    """Bytes and shards of the candidates."""
    png = workload.candidates * PNG_BYTES * 3 * settings.prepare.crop**2
    latents = workload.candidates * 4.0 * figures.latent_numbers
    shards = settings.generate.shards
    low, high = SHARD_BYTES
    round_bytes = (png + latents) / workload.rounds  # each has shards of its own
    # few candidates are one small shard
    handy = round_bytes / shards <= high and (shards == 1 or round_bytes / shards >= low)
    suggested = shards if handy else max(1, -(-round_bytes // high))
    return Storage(png, latents, shards, int(suggested), len(SHARDED_STAGES) * shards + len(ONE_JOB_STAGES))
