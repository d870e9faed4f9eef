"""config.json of this project's own models, read without their networks, or torch."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.errors import BadInput

CONFIG = "config.json"


def read_json(folder: Path, family: str) -> dict[str, Any]:
    """The keys of a saved model's configuration.

    Raises:
        BadInput: the file is missing or is not a JSON object.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise BadInput(f"backbone folder {folder} has no {CONFIG}; set backbone.path to a folder that `save` wrote")
    try:
        values = json.loads(path.read_text())
    except ValueError as error:
        raise BadInput(f"{path} does not describe a {family} model ({error})") from error
    if not isinstance(values, dict):
        raise BadInput(f"{path} does not describe a {family} model (it is no JSON object)")
    return values


def write_config(folder: Path, values: Mapping[str, Any]) -> None:
    """Write the configuration into an existing folder."""
    (folder / CONFIG).write_text(json.dumps(values, indent=2) + "\n")
