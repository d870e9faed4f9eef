"""Which files of a stage touch the disk, a server or another process; all others are pure.

Found in the code: calls that read or write, and imports of what does. A file that begins to do so fails here until it
is named, so that nothing of it slips into a file that was pure.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.stages import OPERATIONS, STAGES
from tests.made import REPOSITORY

DOES_IO = {
    "prepare": {"stage", "sources"},
    "generate": {"stage", "cache"},
    "score": {"stage", "cache"},
    "pair": {"stage", "voted"},
    "train": {"stage", "checkpoints", "groups", "trainer"},
    "evaluate": {"stage"},
    "report": {"stage", "page", "shown"},
    "register": {"stage", "lineage"},
    "intake": {"stage", "journal", "listing", "look", "quarantine", "watermark"},
    "drift": {"stage", "pending"},
    "champion": {"stage"},
    "monitor": {"command", "pairs"},
}
"""Beside `__main__`. trainer: SIGTERM. page: its template."""

CALLS = frozenset({
    "open", "read_text", "read_bytes", "write_text", "write_bytes", "mkdir", "unlink", "rename", "rmdir",
    "iterdir", "rglob", "glob", "exists", "is_file", "is_dir", "stat", "touch", "symlink_to", "rmtree",
    "read_rows", "read_any", "write_rows", "write_shard", "load_file", "save_file", "load_backbone",
    "ShardReader", "ShardFolder",
})  # fmt: skip
IMPORTS = frozenset({
    "subprocess", "shutil", "tempfile", "socket", "signal", "multiprocessing", "mlflow", "boto3",
    "components.runtime.workers", "components.registry.tracking", "components.storage.publish",
    "components.storage.store", "components.storage.s3", "components.storage.inputs",
    "components.artifacts.parts",
})  # fmt: skip


def touches(file: Path) -> Iterator[str]:
    """What in a file does I/O."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            yield from {name} & CALLS
        elif isinstance(node, ast.Import):
            yield from {alias.name for alias in node.names} & IMPORTS
        elif isinstance(node, ast.ImportFrom) and node.module:
            named = {f"{node.module}.{alias.name}" for alias in node.names}
            yield from ({node.module} | named) & IMPORTS


@pytest.mark.parametrize("stage", DOES_IO)
def test_files_that_do_io_are_those_that_are_named(stage: str) -> None:
    files = [file for file in (REPOSITORY / "components" / stage).rglob("*.py") if file.name != "__main__.py"]
    found = {file.stem: sorted(touches(file)) for file in files}
    assert {name: why for name, why in found.items() if why and name not in DOES_IO[stage]} == {}
    assert {name for name in DOES_IO[stage] if not found[name]} == set()


def test_every_stage_has_its_list() -> None:
    assert {*STAGES, *OPERATIONS, "monitor"} == set(DOES_IO)
