"""Files and functions stay small enough to be read in one go."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.made import REPOSITORY

LINES_A_FILE, LINES_A_FUNCTION = 350, 60
FOLDERS = ("components", "flows", "recipes", "benchmarks", "scripts", "tests")


def sources() -> Iterator[Path]:
    for folder in FOLDERS:
        yield from sorted((REPOSITORY / folder).rglob("*.py"))


def name_of(file: Path) -> str:
    return file.relative_to(REPOSITORY).as_posix()


def functions(file: Path) -> Iterator[tuple[str, int]]:
    """Names of a file's functions with their lines, from `def` to the end, the docstring left out."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = _lines(node)
            if ast.get_docstring(node) is not None:
                lines -= _lines(node.body[0])
            yield node.name, lines


def _lines(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def test_no_file_is_longer_than_350_lines() -> None:
    long = {name_of(file) for file in sources() if file.read_text().count("\n") > LINES_A_FILE}
    assert long == set()


def test_no_function_is_longer_than_60_lines() -> None:
    long = {
        f"{name_of(file)}: {name}" for file in sources() for name, lines in functions(file) if lines > LINES_A_FUNCTION
    }
    assert long == set()


def test_lines_are_counted_from_def_without_the_docstring(tmp_path: Path) -> None:
    file = tmp_path / "code.py"
    file.write_text('@decorator(\n    1,\n)\ndef f(\n    x,\n):\n    """Two\n    lines."""\n    return x\n')
    assert list(functions(file)) == [("f", 4)]
