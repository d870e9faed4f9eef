"""All messages of the program that name a way out, as they stand in its code."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from tests.made import REPOSITORY

ERRORS = frozenset({"BadInput", "CorruptInput", "Diverged", "DiskFull", "HistoryBroken", "OutOfMemory", "ResumeLater"})
VERBS = (
    "add|bring|build|change|check|choose|commit|correct|crop|delete|export|fetch|find|free|give|install|keep|launch|"
    "leave|lower|look|loosen|make|merge|move|name|plan|promote|put|raise|register|remove|restore|roll|run|save|say|see|"
    "set|shrink|start|take|track|train|unset|use|write"
)
WAY_OUT = re.compile(rf"(?:^|[:;,(.]\s*|\n\s*|\b(?:or|and|then|Either)\s)(?:{VERBS})\b|`(?:dp2o|dvc|git)\b")
"""Something to do, after a stop or at the beginning; or a command."""


class Message(NamedTuple):
    """A message: the file that has it, and its text, in which `{…}` stands for what is filled in."""

    file: str
    text: str


@cache
def messages() -> tuple[Message, ...]:
    """Those of errors that people can act on, with something that they can do."""
    found = []
    for package in ("components", "flows"):
        for path in sorted((REPOSITORY / package).rglob("*.py")):
            file = path.relative_to(REPOSITORY).as_posix()
            found += [Message(file, text) for text in _texts(ast.parse(path.read_text())) if WAY_OUT.search(text)]
    return tuple(dict.fromkeys(found))


def _texts(tree: ast.AST) -> Iterator[str]:
    """Of each call of an error; names of the module's own text constants are filled in."""
    constants = {
        target.id: _text(node.value, {})
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name) and isinstance(node.value, ast.Constant | ast.JoinedStr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ERRORS:
            yield " ".join(_text(argument, constants) for argument in node.args)


def _text(node: ast.expr, constants: dict[str, str]) -> str:
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(_text(part, constants) for part in parts)
        case ast.FormattedValue(value=ast.Name(id=name)) | ast.Name(id=name):
            return constants.get(name, "{…}")
        case ast.BinOp(left=left, right=right):
            return _text(left, constants) + _text(right, constants)
    return "{…}"
