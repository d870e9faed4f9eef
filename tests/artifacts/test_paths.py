"""Where an artifact of the contract lies is written once: in components/artifacts/paths.py."""

import ast
from pathlib import Path

from components.artifacts import paths
from tests.made import REPOSITORY

KNOWN = {value.as_posix() for value in vars(paths).values() if isinstance(value, Path)}
ABOUT = {"paths.py", "describe.py"}
"""Of components/artifacts: where they are written, and the page about them."""


def literals(file: Path) -> set[str]:
    """Strings of a file that are such a path; docstrings speak of paths and are no such string."""
    return {
        node.value for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
    } & KNOWN  # fmt: skip


def test_no_other_file_writes_a_path_of_the_contract() -> None:
    files = [file for folder in ("components", "flows") for file in (REPOSITORY / folder).rglob("*.py")]
    found = {
        file.relative_to(REPOSITORY).as_posix(): sorted(literals(file))
        for file in files
        if not (file.parent.name == "artifacts" and file.name in ABOUT)
    }
    assert len(KNOWN) > 30
    assert {name: names for name, names in found.items() if names} == {}


def test_a_literal_is_found(tmp_path: Path) -> None:
    file = tmp_path / "code.py"
    file.write_text('"""Of data/pairs.parquet."""\nROWS = root / "data/pairs.parquet"\n')
    assert literals(file) == {"data/pairs.parquet"}
