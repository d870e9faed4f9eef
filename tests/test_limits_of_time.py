"""No test waits for another process for ever: it fails, and its name is known."""

import ast
from collections.abc import Iterator

import pytest

from tests.made import REPOSITORY

RUNS = {"subprocess.run", "subprocess.call", "subprocess.check_call", "subprocess.check_output"}


def unlimited(source: str) -> Iterator[int]:
    """Lines of calls that wait for a process, and of reading from one, without `timeout`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and not any(keyword.arg in ("timeout", None) for keyword in node.keywords):
            called = ast.unparse(node.func)
            if called in RUNS or (called.endswith(".communicate") and len(node.args) < 2):
                yield node.lineno


def test_every_process_of_a_test_has_a_limit_of_time() -> None:
    paths = sorted((REPOSITORY / "tests").rglob("*.py"))
    assert len(paths) > 100
    found = {path.relative_to(REPOSITORY): list(unlimited(path.read_text())) for path in paths}
    assert {path: lines for path, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("import subprocess\nsubprocess.run(['x'], check=True)", [2]),
        ("subprocess.run(['x'], timeout=3)", []),
        ("child.communicate()", [1]),
        ("child.communicate(timeout=3)", []),
        ("subprocess.check_output(['x'], **options)", []),
    ],
)
def test_what_has_none_is_found(source: str, lines: list[int]) -> None:
    assert list(unlimited(source)) == lines
