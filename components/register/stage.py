"""Logs the run to MLflow and registers the aligned model as a version with the alias `candidate`."""

import contextlib
import io
import json
import logging
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
from mlflow.entities import Metric, Param
from mlflow.entities.model_registry import ModelVersion

from components.artifacts import paths
from components.artifacts.evaluation import Evaluation
from components.artifacts.registration import Registration
from components.artifacts.shards import Shard, ShardReader
from components.backbones.base import Backbone
from components.backbones.loading import load_model
from components.errors import BadInput
from components.pipeline.files import shareable_params
from components.redaction import redact_values, redacted
from components.register.figures import curves, evaluation_metrics, flatten
from components.register.lineage import Lineage, collect
from components.register.model_card import model_card
from components.registry.tracking import connected, experiment_id
from components.registry.versions import CANDIDATE, HEADLINE_TAG, IDENTITY_TAG, find_version
from components.runtime.process import resolve_device
from components.serving import package
from components.serving.build import REFERENCE
from components.serving.pyfunc import model_config
from components.settings import Settings

logger = logging.getLogger("dp2o.register")

CURVES = {"training": paths.TRAINING_CURVE, "validation": paths.VALIDATION_CURVE}
PARAMS = Path("params.yaml")
TEXTS = (".yaml", ".json", ".lock", ".html")
ATTACHED = [
    paths.PAGE,
    paths.EVALUATION_ROWS,
    paths.NORMALISER,
    paths.QUARANTINE,
    PARAMS,
    Path("dvc.lock"),
]
PICTURES_LOGGED = 8
"""LR images of the test split whose first restoration by each model is logged."""
METRICS_TAG = "dp2o.metric_digests"
METRICS_A_BATCH, PARAMS_A_BATCH = 1000, 100
"""MLflow's limits of one request."""


def run(settings: Settings, root: Path, shard: Shard | None = None) -> None:
    """Log, register, set the alias, and publish reports/registration.json.

    The same weights, dataset and settings are registered once: a second run finds that version and moves the alias.

    Raises:
        BadInput: a shard is asked for, model or evaluation are missing, or the evaluation is of other weights.
        ResumeLater: the MLflow server cannot be reached.
    """
    if shard is not None:
        raise BadInput("register cannot be sharded: it makes one model version; run it without --shard")
    evaluation = Evaluation.read(root)
    chosen = settings.backbone.located(root)
    digest, scale = _digest_and_scale(load_model(root / paths.BEST, chosen, resolve_device(settings.run.device)))
    evaluated = evaluation.digests["aligned"]
    if evaluated != digest:
        raise BadInput(
            f"{paths.EVALUATION} is of weights {evaluated[:12]}, {paths.BEST} holds {digest[:12]}: run evaluate again"
        )
    lineage = collect(settings, root, digest, evaluation.digests)
    name = settings.register_.model_name
    with connected(settings.register_, root) as client:
        version = find_version(client, name, lineage.identity)
        if version is None:
            version = _register(client, settings, root, evaluation, lineage, scale)
            logger.info("registered %s version %s (run %s)", name, version.version, version.run_id)
        else:
            logger.info("%s version %s is this very result already: no new version", name, version.version)
        client.set_registered_model_alias(name, CANDIDATE, version.version)
    logger.info("models:/%s@%s is version %s", name, CANDIDATE, version.version)
    Registration(
        model=name,
        version=int(version.version),
        alias=CANDIDATE,
        run_id=version.run_id,
        model_digest=digest,
        identity=lineage.identity,
    ).write(root)


def _digest_and_scale(backbone: Backbone) -> tuple[str, int]:
    """All that is asked of the loaded model, whose memory is free after it."""
    return backbone.digest("policy"), backbone.scale


def _register(
    client: mlflow.MlflowClient,
    settings: Settings,
    root: Path,
    evaluation: Evaluation,
    lineage: Lineage,
    scale: int,
) -> ModelVersion:
    """One MLflow run with everything, then a model version of it."""
    experiment = experiment_id(client, settings.register_, root)
    tags = lineage.tags() | {IDENTITY_TAG: lineage.identity, HEADLINE_TAG: evaluation.headline}
    # Metric by metric: their joint digest says that something changed, not what.
    tags[METRICS_TAG] = json.dumps(evaluation.metric_digests)
    name = settings.register_.model_name
    sampling = settings.backbone.model_dump(mode="json") | {"scale": scale}
    card = redacted(model_card(name, sampling, evaluation, lineage.tags()))
    # located, as a served model starts anywhere
    config = model_config(settings.backbone.located(root), settings.prepare.prompt.located(root), digest=lineage.model)
    with mlflow.start_run(experiment_id=experiment, run_name=f"{name} {lineage.model[:12]}", tags=tags) as started:
        run_id = started.info.run_id
        _log_figures(client, run_id, settings, root, evaluation)
        _log_files(run_id, root, card)
        with _weights(settings, root) as weights:
            logged = mlflow.pyfunc.log_model(name="model", **package.arguments(weights, config))
    # The identity tag is written together with the version: no version is ever without it.
    with contextlib.redirect_stderr(io.StringIO()):  # it prints what is logged here; its warnings go through its log
        version = mlflow.register_model(logged.model_uri, name, tags=tags)
    client.update_model_version(name, version.version, description=card)
    return client.get_model_version(name, version.version)


@contextmanager
def _weights(settings: Settings, root: Path) -> Iterator[Path]:
    """Folder of what is stored: the aligned model, and its base in a folder of it where the settings ask for that."""
    if not settings.register_.reference:
        yield root / paths.BEST
        return
    chosen = settings.backbone.located(root)
    with tempfile.TemporaryDirectory() as folder:
        both = Path(folder) / package.BACKBONE
        shutil.copytree(root / paths.BEST, both)
        (both / REFERENCE).mkdir()
        load_model(chosen.path, chosen, resolve_device(settings.run.device)).save(both / REFERENCE)
        yield both


def _log_figures(
    client: mlflow.MlflowClient, run_id: str, settings: Settings, root: Path, evaluation: Evaluation
) -> None:
    values = redact_values(flatten(settings.model_dump(mode="json", by_alias=True), "."))
    params = [Param(name, str(value)) for name, value in values.items()]
    for start in range(0, len(params), PARAMS_A_BATCH):
        client.log_batch(run_id, params=params[start : start + PARAMS_A_BATCH])
    now = int(time.time() * 1000)
    points = [Metric(name, value, now, 0) for name, value in evaluation_metrics(evaluation).items()]
    for prefix, path in CURVES.items():
        if (root / path).is_file():
            try:
                points += curves((root / path).read_text(), prefix, now)
            except ValueError as error:
                raise BadInput(f"{path} is no curve ({error}): run train again") from error
        else:
            logger.warning("%s does not exist: the run has no %s curves", path, prefix)
    for start in range(0, len(points), METRICS_A_BATCH):
        client.log_batch(run_id, metrics=points[start : start + METRICS_A_BATCH])


def _log_file(run_id: str, root: Path, path: Path) -> None:
    """Attach a file; whoever may look at the run sees no secret in it."""
    folder = path.parent.as_posix() if path.parent.name else None
    if path.suffix in TEXTS:
        text = shareable_params(root) if path == PARAMS else (root / path).read_text()
        mlflow.log_text(redacted(text), path.as_posix(), run_id=run_id)
    else:
        mlflow.log_artifact(str(root / path), folder, run_id=run_id)


def _log_files(run_id: str, root: Path, card: str) -> None:
    mlflow.log_text(card, "model_card.md")
    _log_file(run_id, root, paths.EVALUATION)
    for path in ATTACHED:
        if (root / path).is_file():
            _log_file(run_id, root, path)
        else:
            logger.warning("%s does not exist: the run is logged without it", path)
    if not (root / paths.EVALUATION_PICTURES).is_file():
        logger.warning("%s does not exist: the run has no pictures", paths.EVALUATION_PICTURES)
        return
    reader = ShardReader(root / paths.EVALUATION_PICTURES)
    first = sorted(name for name in reader if name.endswith(".000.png"))
    chosen = set(sorted({name.split(".")[0] for name in first})[:PICTURES_LOGGED])
    with tempfile.TemporaryDirectory() as folder:
        for name in first:
            if name.split(".")[0] in chosen:
                (Path(folder) / name).write_bytes(reader.read(name))
        mlflow.log_artifacts(folder, "pictures", run_id=run_id)
