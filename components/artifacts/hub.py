"""A model that settings name: a folder of the project, or an id of the Hugging Face hub."""

from pathlib import Path


def source(name: Path, root: Path) -> Path:
    """`name` below `root` where that exists; else a hub id (`owner/name`) unchanged; else the path, for the error."""
    local = root / name
    if local.exists() or name.is_absolute() or len(name.parts) != 2 or name.parts[0] == "." or name.suffix:
        return local
    return name
