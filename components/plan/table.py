"""A plan as plain text, in the order in which one asks: does it fit, how long, how much disk, on what assumptions."""

import textwrap
from collections.abc import Sequence

from components.plan import estimate
from components.plan.estimate import FSDP, GIB, sampling_precision, training_precision
from components.plan.figures import total
from components.plan.plan import GpuPlan, Plan
from components.plan.published import SCORING_HOURS
from components.plan.workload import rollout_steps
from components.settings import RolledSource, Settings
from components.settings.families import family_of

TERA = 1e12

WIDTH = 110
"""Of sentences; tables are as wide as their cells."""


def render(plan: Plan, title: str) -> str:
    """All of the plan."""
    blocks = [
        [title, *(f"  {line}" for line in plan.figures.origin)],
        _parameters(plan),
        _arithmetic(plan),
        _memory(plan),
        *(_hours(plan, kind) for kind in plan.kinds),
        _storage(plan),
        _assumptions(plan),
    ]
    return "\n\n".join("\n".join(block) for block in blocks)


def columns(rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """Rows of cells, aligned: the first `left` columns to the left, the others to the right; indented by two."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if place < left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(("  " + "  ".join(cells)).rstrip())
    return lines


def _parameters(plan: Plan) -> list[str]:
    parts = plan.figures.parts
    rows = [["", "millions", "trained", "stored as"]]
    rows += [
        [
            part.name,
            f"{part.parameters / 1e6:,.1f}",
            f"{part.trained / 1e6:,.1f}" if part.trained else "-",
            part.dtype + (", on the host" if part.on_host else ""),
        ]
        for part in parts
    ]
    everything, trained = sum(part.parameters for part in parts), plan.figures.trained
    rows.append(["all", f"{everything / 1e6:,.1f}", f"{trained / 1e6:,.1f}", ""])
    return ["Parameters", *columns(rows)]


def _arithmetic(plan: Plan) -> list[str]:
    figures, workload, settings = plan.figures, plan.workload, plan.settings
    rows = [["a candidate", "", "", _number(total(figures.candidate) / TERA)]]
    rows += [
        [f"  {work.what}", f"{work.times:,} x", f"{work.flop / 1e9:,.1f} GFLOP", _number(work.total / TERA)]
        for work in figures.candidate
    ]
    if figures.condition:
        rows.append(["an LR image, once", "", "", _number(total(figures.condition) / TERA)])
        rows += [
            [f"  {work.what}", "1 x", f"{work.flop / 1e9:,.1f} GFLOP", _number(work.total / TERA)]
            for work in figures.condition
        ]
    passes = figures.row + (figures.recomputed if plan.checkpointing else ())
    step = workload.step_rows * total(passes)
    rows.append(["a training step", f"{workload.step_rows:,} x", "", _number(step / TERA)])
    rows += [[f"  {work.what}", "", f"{work.flop / 1e9:,.1f} GFLOP", ""] for work in passes]
    lines = ["Arithmetic, TFLOP (a multiply-add is two operations; attention counts)", *columns(rows)]
    pairs = workload.pairs * settings.train.groups_per_step
    text = (
        f"A step gives {pairs:,} pairs of {settings.train.groups_per_step} groups from {workload.step_rows:,} rows, "
        "each for policy and reference."
    )
    if isinstance(settings.train.source, RolledSource):
        text = f"A step takes {workload.step_rows:,} rows of roll-outs."
    elif not settings.train.source.of_pairs:
        text = f"A step takes {settings.train.groups_per_step} LR images and no pairs."
    elif settings.pair.builder.losers and workload.rows < 2 * workload.pairs:
        apart = 2 * workload.pairs / workload.rows
        text += (
            f" With a draw for each pair it would be {2 * pairs:,} rows, {apart:g} times the cost; they carry the "
            f"information of {workload.step_rows // 2:,} such pairs."
        )
    return [*lines, *_wrapped([" ".join([text, *of_the_method(settings)])])]


def of_the_method(settings: Settings) -> list[str]:
    """A sentence on what each chosen part of a method costs a training, where it is not in the arithmetic."""
    told = []
    source = settings.train.source
    if isinstance(source, RolledSource):
        told.append(_of_rollouts(settings, source))
    elif not source.of_pairs:
        told.append(
            f"Of train.source {source.kind} counted is a policy pass with its backward pass, and a "
            "reference pass too many; decoding, metrics and their gradients are not. An LR image without HR takes a "
            "sampling of policy and of reference. Candidates, scores and pairs are made, as the pipeline does, and not "
            "used."
        )
    if settings.train.noise == "own":
        told.append("The candidates' own noise (train.noise own) is drawn again from their numbers, and costs nothing.")
    if places := len(settings.pair.dial):
        told.append(
            f"The dial's {places} places (pair.dial) make {places} groups of an LR image from the same candidates and "
            "scores; its two layers cost less than a thousandth of a pass."
        )
    if settings.train.dual_captions:
        told.append(
            "Dual captions (train.dual_captions) encode each LR image twice, once with each prompt, and keep both "
            "(train.condition_cache_mb); a candidate that wins in one pair and loses in another takes two rows, which "
            "are not counted."
        )
    if (rounds := settings.train.rounds) > 1:
        told.append(
            f"train.rounds {rounds}: candidates, their scores by the rewarded metrics and steps are counted {rounds} "
            "times; from the second round on they are made by train, in one process."
        )
    if settings.train.winner_stop:
        told.append("train.winner_stop reads the log and costs nothing; what it ends early costs less.")
    return told


def _of_rollouts(settings: Settings, source: RolledSource) -> str:
    groups = settings.train.groups_per_step
    each = groups * source.candidates
    metrics = len(settings.score.fr) + len(settings.score.nr)
    text = (
        f"A roll-out of train.source {source.kind} is {groups} groups of {source.candidates} candidates, sampled in "
        f"{rollout_steps(settings)} steps by the policy without guidance, and {each * metrics:,} metric values; there "
        f"is one every {source.inner_steps} steps. Candidates, scores and pairs of the pipeline are made and not used."
    )
    if source.kind == "prdp":
        text += " Each step of a sampling that draws is a row with a pass of the policy twice, or of the reference."
    return text


def _kept(plan: Plan) -> list[str]:
    """What roll-outs keep in host memory."""
    states = plan.workload.kept_states
    if not states:
        return []
    size = states * plan.figures.state_bytes
    policy = 4 * plan.figures.trained
    return [
        f"Roll-outs keep {states:,} states, {_bytes(size)} of host memory at most, over all processes; the policy that "
        f"sampled is kept on each device ({_bytes(policy)})."
    ]


def _memory(plan: Plan) -> list[str]:
    peaks = plan.memory
    digits = 1 if max(peak.total for peak in peaks) > 10 * GIB else 3

    def row(name: str, values: list[int]) -> list[str]:
        return [name, *(f"{value / GIB:,.{digits}f}" if value else "-" for value in values)]

    rows = [["", *(peak.stage for peak in peaks)]]
    rows.append(row("weights", [peak.weights for peak in peaks]))
    rows.append(row("gradients", [peak.gradients for peak in peaks]))
    rows.append(row("AdamW's state", [peak.optimizer for peak in peaks]))
    rows.append(row("DDP's buckets", [peak.buckets for peak in peaks]))
    rows.append(row("activations", [peak.activations for peak in peaks]))
    rows.append(row("context, waste", [peak.overhead for peak in peaks]))
    rows.append(row("all", [peak.total for peak in peaks]))
    for kind in plan.kinds:
        name = f"{kind.gpu.name}, {kind.gpu.memory / GIB:.1f} GiB"
        rows.append([name, *("fits" if peak.total <= kind.gpu.memory else "TOO LARGE" for peak in peaks)])
    sampled, trained = plan.shape.sampling_rows, plan.shape.training_rows
    head = f"Memory of one device, GiB (sampling {sampled} candidates a call, training on {trained} rows a pass)"
    return [head, *columns(rows), *_wrapped([*_kept(plan), *_ways_out(plan)])]


def _ways_out(plan: Plan) -> list[str]:
    """What to change where the training of the settings is too large for some GPU."""
    peak = next(peak for peak in plan.memory if peak.stage == "train")
    small = [kind.gpu.name for kind in plan.kinds if peak.total > kind.gpu.memory]
    if not small:
        return []
    ways = []
    backbone = plan.settings.backbone
    if not backbone.recomputes and True in plan.figures.training_bytes:
        ways.append("backbone.gradient_checkpointing true")
    if plan.settings.train.micro_batch > 1:
        ways.append("a smaller train.micro_batch")
    if plan.settings.train.precision == "no":
        ways.append("train.precision bf16")
    if family_of(backbone.family).limits.half_precision and backbone.frozen_dtype == "float32":
        ways.append("backbone.dtype bfloat16")
    if backbone.adapter_rank == 0:
        ways.append("backbone.lora_rank above 0")
    split = next((peak for peak in plan.memory if peak.stage == FSDP), None)
    text = sum(part.bytes for part in plan.figures.parts if " text" in part.name and not part.on_host)
    movable = text if backbone.text_on_host is False else 0
    if movable and all(peak.total - movable <= kind.gpu.memory for kind in plan.kinds):
        ways.append("backbone.text_on_cpu true")
    launch = "`accelerate launch --config_file launch/fsdp2.yaml`"
    if split is not None and all(split.total <= kind.gpu.memory for kind in plan.kinds):
        ways.append(launch)
    elif split is not None and movable and all(split.total - movable <= kind.gpu.memory for kind in plan.kinds):
        ways.append(f"{launch} with backbone.text_on_cpu true")
    ways.append("a larger GPU")
    return [f"To train on {', '.join(small)}: {', or '.join(ways)}."]


def _hours(plan: Plan, kind: GpuPlan) -> list[str]:
    gpu, cpu = kind.gpu, kind.gpu.sustained
    rows = [["stage", "work", "PFLOP", "of peak", "hours", "GPU-hours"]]
    for stage in kind.stages:
        used = f"{stage.utilisation:.1%}"
        rows.append(
            [
                stage.name,
                stage.work,
                _number(stage.flop / 1e15),
                used,
                _short(stage.seconds / 3600),
                _short(stage.gpu_hours),
            ]
        )
    score = f"{plan.workload.candidates * len(plan.settings.score.all_metrics):,} metric values"
    score += "".join(f", {calls:,} calls of {kind}" for kind, calls in plan.workload.judge_calls.items())
    rows.insert(2, ["score", score, "?", "", "?", "?"])
    rows.append(["all but score", "", "", "", _short(kind.seconds / 3600), _short(kind.gpu_hours)])
    if cpu:
        rows = [[*row[:3], row[4]] for row in rows]
    where = "This machine's CPU" if cpu else f"{plan.gpus} x {gpu.name}"
    precisions = dict.fromkeys((sampling_precision(plan.settings), training_precision(plan.settings)))
    rates = " and ".join(f"{gpu.rate(precision) / TERA:,.3g} in {precision}" for precision in precisions)
    return [f"{where}, {'at' if cpu else 'each of at most'} {rates} TFLOP/s", *columns(rows, left=2)]


def _short(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:.1f}" if hours >= 1 else f"{hours:.2f}"


def _bytes(size: float) -> str:
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if size >= scale:
            return f"{size / scale:,.2f} {unit}" if scale == 1e12 else f"{size / scale:,.0f} {unit}"
    return f"{size / 1e3:,.0f} kB"


def _storage(plan: Plan) -> list[str]:
    storage = plan.storage
    rows = [["candidates, PNG", _bytes(storage.png)]]
    if storage.latents:
        rows.append(["their latents, float32", _bytes(storage.latents)])
    rows.append(["both, in data/candidates and again in the cache", _bytes(2 * storage.total)])
    groups = plan.workload.lr_images.candidates / storage.shards
    shards = f"{storage.shards} {'shard' if storage.shards == 1 else 'shards'} (generate.shards)"
    first = plan.kinds[0]
    rounds = plan.workload.rounds  # each makes its own shards
    hours = _short(first.stages[0].gpu_hours / storage.shards / rounds)
    on = "this CPU" if first.gpu.sustained else f"one {first.gpu.name}"
    sentences = [
        f"{shards}: each {groups:,.0f} LR images, {_bytes(storage.total / storage.shards / rounds)}, "
        f"{hours} h of generate on {on}."
    ]
    if storage.suggested != storage.shards:
        sentences.append(f"generate.shards {storage.suggested:,} would make tars of a handy size, 1 GB at most.")
    stages = " and ".join(estimate.SHARDED_STAGES)
    sentences.append(
        f"Kubernetes Jobs of a run: {storage.jobs:,}, one a shard for {stages}, one for each of the "
        f"{len(estimate.ONE_JOB_STAGES)} other stages."
    )
    return ["Disk and jobs", *columns(rows), *_wrapped(sentences)]


def _assumptions(plan: Plan) -> list[str]:
    lines = [
        f"Images are of {plan.shape.side} px; the number of LR images is {plan.workload.lr_images.known_from}.",
        *dict.fromkeys(f"{kind.utilisation.origin}." for kind in plan.kinds),
        "What score costs does not follow from shapes"
        + (
            f"; the paper reports {SCORING_HOURS:g} h on 8 A800 for its nine metrics. The metrics' networks and the "
            "captioner of prepare are not counted."
            if family_of(plan.settings.backbone.family).published is not None
            else "."
        ),
        "Activations are the most that is alive at once in a pass, counted on tensors without numbers, with fused "
        "attention and autocast's casts. What kernels take for themselves is not seen; context and waste are "
        f"{estimate.CONTEXT_BYTES / GIB:g} GiB and {estimate.FRAGMENTATION:.0%} of the activations.",
        f"A PNG takes {estimate.PNG_BYTES:.0%} of its raw bytes, the mean over the demo's photos.",
    ]
    if not plan.kinds[0].gpu.sustained:
        lines.insert(2, "On another GPU the same fraction of peak is a guess: small batches fill a faster one less.")
    return ["Assumptions", *_wrapped(lines)]


def _wrapped(sentences: Sequence[str]) -> list[str]:
    return [
        line
        for sentence in sentences
        for line in textwrap.wrap(sentence, WIDTH, initial_indent="  ", subsequent_indent="    ")
    ]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:,.4g}"
