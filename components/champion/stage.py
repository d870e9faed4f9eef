"""The champion's weights → models/champion: what the next training starts from, and compares itself with.

Files rather than a `models:/…@champion` in params.yaml, because an alias moves: a run of last month could not be made
again, and DVC would not see that its base has changed. As files the base is tracked by content like all else.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from components.artifacts import paths
from components.artifacts.retraining import ChampionReport
from components.artifacts.shards import Shard
from components.errors import BadInput
from components.settings import Settings
from components.storage.publish import atomic_folder

logger = logging.getLogger("dp2o.champion")


def run(settings: Settings, root: Path, shard: Shard | None = None) -> None:
    """Publish models/champion (empty where there is no champion yet) and reports/champion.json: which it is.

    Raises:
        BadInput: a shard is asked for, or the champion's files are not what was promoted.
        HistoryBroken: the history of promotions is not what it was.
        ResumeLater: the registry is away.
    """
    if shard is not None:
        raise BadInput("champion is one model and cannot run in shards: leave --shard out")
    report = fetch(settings, root)
    report.write(root)
    logger.info("champion: %s", report.champion or "none yet, the settings' own backbone is the base")


def fetch(settings: Settings, root: Path) -> ChampionReport:
    """See `run`; the report."""
    from components.backbones.loading import load_model  # noqa: PLC0415
    from components.registry.fetch import champion, model_of  # noqa: PLC0415
    from components.registry.tracking import connected  # noqa: PLC0415
    from components.registry.trust import trust_of  # noqa: PLC0415
    from components.registry.versions import MODEL_TAG, production_name  # noqa: PLC0415
    from components.runtime.process import resolve_device  # noqa: PLC0415

    name, trust = production_name(settings.register_.model_name), trust_of(settings.gate, root)
    with connected(settings.register_, root) as client, atomic_folder(root / paths.CHAMPION) as folder:
        found = champion(client, settings.register_, trust, name)
        if found is None:
            return ChampionReport(champion="", digest="")
        shutil.copytree(model_of(client, found).package.backbone, folder, dirs_exist_ok=True)
        chosen = settings.backbone.located(root)
        digest = load_model(folder, chosen, resolve_device(settings.run.device)).digest("policy")
        wanted = found.tag(MODEL_TAG)
        if digest != wanted:
            raise BadInput(
                f"{found.name} holds weights {digest[:12]}, it was registered with {wanted[:12]}: its files were "
                "changed; roll back, or register it again"
            )
    return ChampionReport(champion=found.name, digest=digest)
