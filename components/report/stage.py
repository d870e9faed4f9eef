"""Everything the run made, as one page that needs nothing else to be read."""

import logging
from collections import Counter, defaultdict
from importlib import metadata
from pathlib import Path

import yaml

from components.artifacts import paths, tables
from components.artifacts.evaluation import Evaluation
from components.artifacts.shards import Shard, ShardFolder
from components.errors import BadInput
from components.judge.diagnosis import Finding, diagnose, stopped
from components.pages.charts import fixed
from components.progress import progress
from components.redaction import redacted
from components.report import choices, curves
from components.report.anatomy import anatomy_lines
from components.report.closeups import RULE
from components.report.comparison import control_table, metric_table, peer_table
from components.report.groups import GroupView, view
from components.report.mixtures import Mixtures
from components.report.page import CloseupView, Page, Reason, Slider, html
from components.report.pictures import data_uri, enlarged
from components.report.plots import plots
from components.report.shown import Restored, closeups, deviation_note
from components.report.verdict import judge, key_figures
from components.settings import Settings, TrainSettings
from components.storage import digests
from components.storage.publish import atomic_folder, write_text

logger = logging.getLogger("dp2o.report")

PICTURE, THUMBNAIL = 512, 192
"""Longest sides in px of pictures in sliders and of candidates."""

EXAMPLES = 3
"""Examples shown of each quarantine reason."""

SETTINGS_SHOWN = ("prepare", "backbone", "generate", "score", "pair", "train", "evaluate")
PACKAGES = ("torch", "diffusers", "pyiqa", "accelerate", "numpy")


def run(settings: Settings, root: Path, shard: Shard | None = None) -> None:
    """Publish reports/index.html, reports/figures and reports/plots/best_mean_worst.csv.

    Raises:
        BadInput: a shard is asked for, or an artifact of an earlier stage is missing or damaged.
    """
    if shard is not None:
        raise BadInput("report cannot be sharded: it is one page; run it without --shard")
    evaluation = Evaluation.read(root)
    dataset = {row["lr_id"]: row for row in tables.read_rows(root / paths.DATASET_ROWS, tables.DATASET)}
    candidates = tables.read_rows(root / paths.CANDIDATE_ROWS, tables.CANDIDATES)
    pairs = tables.read_dialled(root / paths.PAIRS, tables.PAIRS)
    inputs = ShardFolder(root / paths.DATASET)
    headings, peers = peer_table(evaluation)
    seen = Restored(root, dataset, inputs)
    sliders = _sliders(settings, seen)
    close = closeups(evaluation, seen)
    directions = {name: row.higher_is_better for name, row in evaluation.metrics.items()}
    rewarded = [name for name, row in evaluation.metrics.items() if row.in_reward]
    logged = curves.TRAINING_COLUMNS if settings.train.source.of_pairs else curves.COMMON_COLUMNS
    training = _csv(root, paths.TRAINING_CURVE, logged)
    validation = _csv(root, paths.VALIDATION_CURVE, ("step", "reward"))
    page = Page(
        verdict=judge(evaluation),
        figures=key_figures(evaluation),
        evaluation=evaluation,
        metrics={kind: metric_table(compared) for kind, compared in evaluation.kinds.items()},
        peer_headings=headings,
        peers=peers,
        controls=control_table(evaluation),
        mixtures=Mixtures.of(evaluation),
        anatomy=anatomy_lines(evaluation, training),
        spread=curves.spread_chart(evaluation),
        validation=curves.validation_charts(validation, directions),
        training=curves.training_charts(training, _start_of(settings.train)),
        findings=_findings(settings.train, training, validation),
        sliders=sliders,
        versions=list(dict.fromkeys(version for slider in sliders for version in slider.versions)),
        closeups=[
            CloseupView(one.why, one.source, one.detail, {name: data_uri(part) for name, part in one.squares.items()})
            for one in close
        ],
        closeup_rule=RULE,
        deviation_note=deviation_note(evaluation, seen),
        groups=_groups(settings, root, dataset, inputs, candidates, pairs, rewarded),
        builder=settings.pair.builder.kind,
        pair_count=len(pairs),
        splits=_splits(dataset),
        candidate_count=len(candidates),
        quarantine=_quarantine(root, evaluation),
        lineage=_lineage(root, candidates, evaluation),
        settings=_settings_text(settings),
    )
    text = html(page)
    files = plots(evaluation, training, validation, close)
    with atomic_folder(root / paths.FIGURES) as folder:
        for name, content in files.items():
            (folder / name).write_bytes(content)
    write_text(root / paths.SPREAD_PLOT, curves.spread_csv(evaluation))
    write_text(root / paths.PAGE, text)
    logger.info("%s (%.1f MB): %s", root / paths.PAGE, len(text.encode()) / 1e6, evaluation.headline)


def _csv(root: Path, name: Path, columns: tuple[str, ...]) -> curves.Table:
    path = root / name
    if not path.is_file():
        raise BadInput(f"{path} does not exist; run train first")
    return curves.read_csv(path.read_text(), name.as_posix(), columns)


def _findings(train: TrainSettings, training: curves.Table, validation: curves.Table) -> list[Finding]:
    """What went wrong in the training, and what ended it early, if anything did."""
    rows = curves.rows_of(training)
    end = stopped(rows, train.winner_stop)
    return ([] if end is None else [end]) + diagnose(rows, curves.rows_of(validation))


def _start_of(train: TrainSettings) -> float | None:
    """The loss before the first step: of weights that are 1 on average, without the winners' own error."""
    return None if train.anchor > 0 or not train.source.of_pairs else train.objective.loss_at_zero


def _sliders(settings: Settings, seen: Restored) -> list[Slider]:
    base, aligned = (choices.mean_by_image(seen.rows, model) for model in ("base", "aligned"))
    gains = {lr_id: aligned[lr_id] - base[lr_id] for lr_id in base.keys() & aligned.keys()}
    sliders = []
    for lr_id in progress(
        choices.evenly(choices.by_gain(gains), settings.report.sliders_shown), desc="sliders", unit="image"
    ):
        row = seen.dataset[lr_id]
        pictures = {"LR": enlarged(seen.lr(lr_id), row["height"], row["width"])}
        pictures |= {model: seen.first(lr_id, model) for model in seen.models}
        pictures |= seen.hr(lr_id) | seen.seeds(lr_id)
        gain = gains[lr_id]
        sliders.append(
            Slider(
                lr_id,
                row["source_name"],
                fixed(gain, 0, signed=True),
                "better" if gain > 0 else "worse" if gain < 0 else "unchanged",
                f"reward {fixed(base[lr_id], 0)} → {fixed(aligned[lr_id], 0)}",
                {name: data_uri(picture, PICTURE) for name, picture in pictures.items()},
            )
        )
    return sliders


def _groups(
    settings: Settings,
    root: Path,
    dataset: dict[str, tables.Row],
    inputs: ShardFolder,
    candidates: list[tables.Row],
    pairs: list[tables.Row],
    rewarded: list[str],
) -> list[GroupView]:
    metrics, scores = tables.read_any(root / paths.SCORES)
    metrics = [name for name in metrics if name not in ("lr_id", "index", "split", "reward")]
    groups = {row["lr_id"]: row for row in choices.midway(tables.read_dialled(root / paths.GROUPS, tables.GROUPS))}
    shown = choices.evenly(
        choices.by_gain({lr_id: row["sigma"] for lr_id, row in groups.items()}), settings.report.groups_shown
    )
    shards = {row["lr_id"]: row["shard"] for row in candidates}
    # Ranked by the rewards that made the pairs: over the candidates that were used, by the scalariser of the settings.
    rewards = {
        (lr_id, index): reward
        for lr_id in shown
        for index, reward in zip(groups[lr_id]["candidates"], groups[lr_id]["rewards"], strict=True)
    }
    scores_of = _by_lr(
        [
            row | {"reward": rewards[row["lr_id"], row["index"]]}
            for row in scores
            if (row["lr_id"], row["index"]) in rewards
        ],
        shown,
    )
    pairs_of = _by_lr(choices.midway(pairs), shown)
    weights = [row["weight"] for rows in pairs_of.values() for row in rows]
    images = ShardFolder(root / paths.CANDIDATES)
    views = []
    for lr_id in progress(shown, desc="groups", unit="group"):
        row = dataset[lr_id]
        shard = inputs[row["shard"]]
        indexes = [score["index"] for score in scores_of[lr_id]]
        pictures = {
            index: data_uri(images[shards[lr_id]].image(f"{lr_id}.{index:03d}.png"), THUMBNAIL) for index in indexes
        }
        lr = enlarged(shard.image(f"{lr_id}.lr.png"), row["height"], row["width"])
        views.append(
            view(
                groups[lr_id],
                row["source_name"],
                scores_of[lr_id],
                pairs_of[lr_id],
                [name for name in rewarded if name in metrics],
                metrics,
                pictures,
                lr_picture=data_uri(lr, THUMBNAIL),
                hr_picture=data_uri(shard.image(f"{lr_id}.hr.png"), THUMBNAIL) if row["has_hr"] else None,
                weights=(min(weights), max(weights)),
            )
        )
    return views


def _by_lr(rows: list[tables.Row], shown: list[str]) -> dict[str, list[tables.Row]]:
    found: dict[str, list[tables.Row]] = {lr_id: [] for lr_id in shown}
    for row in rows:
        if row["lr_id"] in found:
            found[row["lr_id"]].append(row)
    return found


def _splits(dataset: dict[str, tables.Row]) -> list[tuple[str, int, int]]:
    result = []
    for split in ("align", "validation", "test"):
        rows = [row for row in dataset.values() if row["split"] == split]
        result.append((split, len({row["source"] for row in rows}), len(rows)))
    return result


def _quarantine(root: Path, evaluation: Evaluation) -> list[Reason]:
    """What each stage set aside, by reason."""
    items = [
        (row["stage"], row["reason"], f"{row['file']}: {row['detail']}")
        for row in tables.read_rows(root / paths.QUARANTINE, tables.QUARANTINE)
    ]
    items += [
        ("score", f"{row['metric']}: {row['reason']}", f"{row['lr_id']} #{row['index']}: {row['detail']}")
        for row in tables.read_rows(root / paths.SCORE_QUARANTINE, tables.SCORE_QUARANTINE)
    ]
    items += [
        (
            "evaluate",
            f"{row.metric}: {row.reason}",
            f"{row.model} {row.lr_id} #{row.index}: {row.detail}",
        )
        for row in evaluation.failures
    ]
    counts = Counter((stage, reason) for stage, reason, _ in items)
    examples: dict[tuple[str, str], list[str]] = defaultdict(list)
    for stage, reason, example in items:
        if len(examples[stage, reason]) < EXAMPLES:
            examples[stage, reason].append(example)
    return [Reason(stage, reason, count, examples[stage, reason]) for (stage, reason), count in counts.most_common()]


def _lineage(root: Path, candidates: list[tables.Row], evaluation: Evaluation) -> list[tuple[str, str]]:
    files = (paths.DATASET_ROWS, paths.CANDIDATE_ROWS, paths.SCORES, paths.PAIRS)
    made_by = sorted({row["model_digest"] for row in candidates})
    return [
        *(
            (f"{name} model" if name in ("base", "aligned") else name, digest)
            for name, digest in evaluation.digests.items()
        ),
        ("model that made the candidates", ", ".join(made_by)),
        *((name.as_posix(), digests.of_file(root / name)) for name in files),
        ("packages", ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)),
    ]


def _settings_text(settings: Settings) -> str:
    values = settings.model_dump(mode="json", by_alias=True)
    return redacted(yaml.safe_dump({name: values[name] for name in SETTINGS_SHOWN}, sort_keys=False))
