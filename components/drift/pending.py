"""Which of the pictures that came in no training has seen: data/retrain.json lists the shards that one has."""

from __future__ import annotations

from pathlib import Path

from components.artifacts import paths, tables
from components.artifacts.retraining import TrainedShards
from components.errors import BadInput


def pending(root: Path) -> list[tables.Row]:
    """Rows of data/incoming.parquet whose shard is in no finished retraining; none where nothing ever came in.

    Raises:
        BadInput: a file is damaged, or the table is tracked and not here.
    """
    path = root / paths.INCOMING_ROWS
    if not path.is_file():
        if (root / f"{paths.INCOMING_ROWS}.dvc").is_file():
            raise BadInput(f"{path} is tracked by DVC but not here: `dvc pull {paths.INCOMING_ROWS}` first")
        return []
    trained = TrainedShards.read_if_there(root) or TrainedShards()
    return [row for row in tables.read_rows(path, tables.INCOMING) if row["shard"] not in trained.shards]
