"""No message that names a way out is forgotten: each is of a kind whose way a test takes, or that says why none can."""

import ast
import re

import pytest

from tests.made import REPOSITORY
from tests.ways_out.messages import WAY_OUT, Message, messages
from tests.ways_out.table import KINDS, Kind


def _kind(message: Message) -> Kind | None:
    return next(
        (kind for kind in KINDS if message.file.startswith(kind.within) and re.search(kind.pattern, message.text)), None
    )


def test_each_message_is_of_a_kind() -> None:
    without = [message for message in messages() if _kind(message) is None]
    assert without == [], "take its way out in a test, and add a row to KINDS"
    used = {_kind(message) for message in messages()}
    assert [kind for kind in KINDS if kind not in used] == []


@pytest.mark.parametrize("kind", KINDS, ids=[f"{kind.within}{kind.pattern}"[:50] for kind in KINDS])
def test_each_kind_is_tried_or_says_why_not(kind: Kind) -> None:
    assert bool(kind.taken_by) != bool(kind.said)
    if kind.taken_by:
        file, _, name = kind.taken_by.partition("::")
        tree = ast.parse((REPOSITORY / file).read_text())
        assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x is wrong: set run.device to cpu", True),
        ("x is damaged; remove it", True),
        ("x is damaged ({…})", False),
        ("look at `dp2o history`", True),
        ("the settings of x", False),
    ],
)
def test_a_way_out_is_known_by_its_verb(text: str, expected: bool) -> None:
    assert bool(WAY_OUT.search(text)) is expected
    assert len(messages()) > 200
