"""What a model version was made of: code, data, settings and weights, by their digests."""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from components.artifacts import paths
from components.artifacts.lock import Lock
from components.settings import Settings
from components.storage import digests
from components.storage.commit import UNKNOWN, dirtiness_of, sha_of

logger = logging.getLogger("dp2o.register")

NOT_OF_THE_MODEL = frozenset({"run", "register", "report", "gate", "intake", "drift", "monitor"})
"""Blocks of params.yaml that say where things run, what is shown, promoted or watched, not what the model is."""


@dataclass(frozen=True)
class Lineage:
    """Digests are hex sha256; `unknown` where there is nothing to look at.

    Attributes:
        git_commit: commit of the code.
        git_dirty: `true` if files differ from that commit, other than those that a pipeline run itself writes.
        dvc_lock: of dvc.lock's stages without `register`, whose own entry is written after it has run.
        dataset: of data/dataset.parquet.
        params: of all settings that determine the model and its figures.
        model: of the registered weights.
        base_model: of the weights it was trained from.
        sampler, metrics, normaliser: as reports/evaluation.json records them.
    """

    git_commit: str
    git_dirty: str
    dvc_lock: str
    dataset: str
    params: str
    model: str
    base_model: str
    sampler: str
    metrics: str
    normaliser: str

    def tags(self) -> dict[str, str]:
        """MLflow tags, of the run and of the model version."""
        return {f"dp2o.{name}": value for name, value in asdict(self).items()}

    @property
    def identity(self) -> str:
        """Digest of weights, dataset and settings: equal for two registrations of the same result."""
        return digests.of_json([self.model, self.dataset, self.params])


def collect(settings: Settings, root: Path, model_digest: str, evaluated: Mapping[str, str]) -> Lineage:
    """Lineage of the project in `root`; what cannot be known is `unknown`, with a warning.

    Args:
        evaluated: `digests` of reports/evaluation.json.
    """
    return Lineage(
        git_commit=sha_of(root),
        git_dirty=dirtiness_of(root),
        dvc_lock=_dvc_lock(root / "dvc.lock"),
        dataset=_file(root / paths.DATASET_ROWS),
        params=params_digest(settings),
        model=model_digest,
        base_model=_named(evaluated, "base"),
        sampler=_named(evaluated, "sampler"),
        metrics=_named(evaluated, "metrics"),
        normaliser=_named(evaluated, "normaliser"),
    )


def params_digest(settings: Settings) -> str:
    """Digest of the settings that determine the model and its figures, defaults included."""
    values = settings.model_dump(mode="json", by_alias=True, exclude=_excluded())
    if settings.register_.reference:  # of that block alone, it is a part of what is registered
        values["reference"] = True
    return digests.of_json(values)


def _excluded() -> set[str]:
    by_alias = {field.alias or name: name for name, field in Settings.model_fields.items()}
    return {by_alias[block] for block in NOT_OF_THE_MODEL}


def _dvc_lock(path: Path) -> str:
    if not path.is_file():
        logger.warning("%s does not exist: recorded as unknown; `dvc repro` writes it", path)
        return UNKNOWN
    return Lock.parse(path.read_text(), path).digest(without=("register",))


def _file(path: Path) -> str:
    if not path.is_file():
        logger.warning("%s does not exist: its digest is recorded as unknown", path)
        return UNKNOWN
    return digests.of_file(path)


def _named(evaluated: Mapping[str, str], name: str) -> str:
    if name not in evaluated:
        logger.warning("reports/evaluation.json has no digest of %s: recorded as unknown", name)
    return evaluated.get(name, UNKNOWN)
