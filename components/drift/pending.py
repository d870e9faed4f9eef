"""Which of the pictures that came in no training has seen: data/retrain.json lists the shards that one has."""

from __future__ import annotations

import json
from pathlib import Path

from components.artifacts import tables
from components.errors import BadInput

TRAINED = Path("data/retrain.json")
ORIGINS = Path("data/incoming.parquet")
FOLDER = Path("data/incoming")


def trained(root: Path) -> list[str]:
    """Names of the shards that a finished retraining had in its dataset.

    Raises:
        BadInput: the file is damaged.
    """
    path = root / TRAINED
    if not path.is_file():
        return []
    try:
        return [str(name) for name in json.loads(path.read_text())["shards"]]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise BadInput(f"{path} is damaged ({error}): restore it with `git checkout {TRAINED}`") from error


def pending(root: Path) -> list[tables.Row]:
    """Rows of data/incoming.parquet whose shard is in no finished retraining; none where nothing ever came in."""
    path = root / ORIGINS
    if not path.is_file():
        if (root / f"{ORIGINS}.dvc").is_file():
            raise BadInput(f"{path} is tracked by DVC but not here: `dvc pull {ORIGINS}` first")
        return []
    done = set(trained(root))
    return [row for row in tables.read_rows(path, tables.INCOMING) if row["shard"] not in done]
