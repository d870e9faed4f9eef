"""Measure models on a public test set → reports/benchmark/<set>/: table.md, table.tex, table.csv."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from components.artifacts import paths
from components.backbones.loading import SavedModel, check_sizes
from components.benchmark import layout
from components.benchmark.dataset import Prepared, Protocol, prepared
from components.benchmark.figures import ModelFigures, figures_of
from components.benchmark.models import Named, model_of, peer_of, results_of
from components.benchmark.published import OF_FAMILY, Published, columns, published
from components.benchmark.sets import TestSet
from components.errors import BadInput
from components.judge.measure import Judge
from components.judge.restorers import Models, Restorer
from components.metrics.table import LR_CONSISTENCY, PRESETS, TABLE, Kind, info, is_brought
from components.prompts.writer import prompt_writer
from components.runtime.process import resolve_device
from components.settings import Settings
from components.storage import digests
from components.storage.publish import write_text

logger = logging.getLogger("dp2o.benchmark")

COLOURS = {
    "psnr": "RGB, no border cut",
    "ssim": "luma of YIQ, rounded, no border cut",
    "psnr_y": "Y of YCbCr (pyiqa's test_y_channel), no border cut: the papers'",
    "ssim_y": "Y of YCbCr (pyiqa's test_y_channel), no border cut: the papers'",
}
"""What decides a PSNR beside the pictures; papers that say "PSNR" mean one of these, a dB or more apart."""


@dataclass(frozen=True)
class Asked:
    """What is compared, as it was typed.

    Attributes:
        models: base, aligned, models:/…, folders of weights; NAME=WHAT.
        peers: names of peers.
        results: NAME=FOLDER of other people's restorations.
        against: NAME=COLUMN, published columns to stand beside; empty: by the family, for base and aligned.
        metrics: names; empty: those of the settings.
        seeds: samples an image of the models.
    """

    models: tuple[Named, ...]
    peers: tuple[str, ...]
    results: tuple[Named, ...]
    against: tuple[Named, ...]
    metrics: tuple[str, ...]
    seeds: int
    protocol: Protocol


@dataclass(frozen=True)
class Done:
    """A set's figures and the files that they were written to."""

    set: str
    figures: list[ModelFigures]
    folder: Path


def metrics_of(settings: Settings, text: str) -> tuple[str, ...]:
    """Metrics of `--metrics`: a preset's, names by commas, or the settings'.

    Raises:
        BadInput: a metric is unknown.
    """
    if not text:
        return tuple(settings.score.all_metrics)
    if text in PRESETS:
        chosen = PRESETS[text]
        return (*chosen.fr, *chosen.nr, *chosen.held_out)
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    unknown = [name for name in names if name not in TABLE and not is_brought(name)]
    if unknown or not names:
        raise BadInput(f"--metrics {text}: there is no metric {', '.join(unknown)}; give {', '.join(PRESETS)} or names")
    return names


def run_benchmark(settings: Settings, root: Path, which: TestSet, data: Path, asked: Asked) -> Done:
    """Measure all that is asked for on one set, and write its tables.

    Restorations and scores are kept in the cache: the same call again computes nothing.

    Raises:
        BadInput: the set, a model, a metric's weights or a folder of results is missing or does not fit.
    """
    device = resolve_device(settings.run.device)
    against = _against(settings, which.name, asked)
    writer = prompt_writer(settings.prepare.prompt, settings.backbone.located(root), root, device)
    images = prepared(settings, root, which, data, asked.protocol, writer)
    metrics = _applicable(asked.metrics, bool(images.images.with_hr))
    models = Models()
    own = [model_of(settings, root, named, asked.seeds, models) for named in asked.models]
    for _, saved in own:
        check_sizes(saved.backbone, images.images.rows)
    peers = [peer_of(settings, name) for name in asked.peers]
    restorers = [restorer for restorer, _ in own] + peers + [results_of(settings, one, images) for one in asked.results]
    _names_differ(restorers)
    files = [file for _, saved in own for file in saved.files]
    with Judge(settings, root, metrics, device, files) as judge:
        measured = judge.measure(restorers, images.images)
    found = [
        figures_of(
            one.name,
            one.measurements,
            metrics,
            images.images.photos,
            resamples=settings.evaluate.bootstrap,
            confidence=settings.evaluate.confidence,
            seed=settings.evaluate.seed,
        )
        for one in measured
    ]
    for failure in [failure for one in measured for failure in one.failures][:20]:
        logger.warning("%(model)s %(lr_id)s index %(index)d: %(metric)s gave %(reason)s (%(detail)s)", failure)
    folder = root / paths.PUBLIC_BENCHMARKS / which.name
    facts = _facts(settings, which, images, metrics, restorers, [saved for _, saved in own], asked)
    write_text(folder / "table.md", layout.markdown(which.title, facts, found, against))
    write_text(folder / "table.tex", layout.latex(which.title, found, against))
    write_text(folder / "table.csv", layout.comma_separated(found, against))
    return Done(which.name, found, folder)


def _against(settings: Settings, set_name: str, asked: Asked) -> dict[str, Published]:
    """Published columns by the name of the model that stands beside."""
    if asked.against:
        known = {*(named.name for named in (*asked.models, *asked.results)), *asked.peers}
        strange = [named.name for named in asked.against if named.name not in known]
        if strange:
            raise BadInput(f"--against names {', '.join(strange)}, which is not compared: name {', '.join(known)}")
        return {named.name: published(set_name, named.what) for named in asked.against}
    if not columns(set_name) or settings.backbone.family not in OF_FAMILY:
        return {}
    beside = dict(zip(("base", "aligned"), OF_FAMILY[settings.backbone.family], strict=True))
    return {one.name: published(set_name, beside[one.what]) for one in asked.models if one.what in beside}


def _applicable(metrics: Sequence[str], has_hr: bool) -> list[str]:
    """Without HR there are no FR metrics, and the LR takes their place."""
    if has_hr:
        return list(metrics)
    found = [name for name in metrics if info(name).kind is not Kind.FR]
    return found if LR_CONSISTENCY in found else [*found, LR_CONSISTENCY]


def _names_differ(restorers: Sequence[Restorer]) -> None:
    names = [restorer.name for restorer in restorers]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not names:
        what = f"{', '.join(twice)} is named more than once" if twice else "nothing is compared"
        raise BadInput(f"{what}: give --model NAME=WHAT, --peer or --results NAME=FOLDER with names of their own")


def _facts(
    settings: Settings,
    which: TestSet,
    images: Prepared,
    metrics: Sequence[str],
    restorers: Sequence[Restorer],
    own: Sequence[SavedModel],
    asked: Asked,
) -> list[tuple[str, str]]:
    """What a reader needs to measure the same again."""
    facts = [
        ("set", which.about),
        ("images", f"{len(images.images)}, {len(images.images.with_hr)} with HR; digest {images.digest[:16]}"),
        ("protocol", images.protocol),
        ("samples", f"{asked.seeds} an image of the models, with noise by image and sample; the same for all models"),
        ("intervals", f"{settings.evaluate.confidence:.0%}, bootstrap over images"),
        ("metrics", ", ".join(f"{name} ({info(name).about})" for name in metrics)),
    ]
    facts += [(name, COLOURS[name]) for name in metrics if name in COLOURS]
    for restorer, saved in zip(restorers, own, strict=False):
        sampler = f"{saved.backbone.family}, {saved.backbone.steps} steps, colour fix {saved.backbone.colour_fix}"
        facts.append((restorer.name, f"{sampler}, weights {restorer.weights_digest[:12]}"))
    facts += [(one.name, f"digest {one.weights_digest[:12]}") for one in restorers[len(own) :]]
    return [*facts, ("settings", digests.of_json(settings.backbone.model_dump(mode="json"))[:12])]
