"""Names of work."""

import re

from flows.launchers.base import Work
from flows.launchers.names import name_of


def work(**changes: object) -> Work:
    given = {"run": "r1", "stage": "generate", "shard": "00002-of-00004", "attempt": 0, "command": ("x",), **changes}
    return Work(**given)  # type: ignore[arg-type]


def test_what_identifies_the_work_makes_the_name_and_nothing_else_does() -> None:
    assert name_of(work()) == name_of(work(command=("y",), gpus=3, environment={"A": "b"}))
    names = {name_of(w) for w in (work(), work(run="r2"), work(stage="score"), work(shard="whole"), work(attempt=1))}
    assert len(names) == 5


def test_a_part_does_not_spill_into_the_next() -> None:
    assert name_of(work(run="a", stage="bc")) != name_of(work(run="ab", stage="c"))


def test_is_readable_and_a_dns_label_whatever_the_parts_are() -> None:
    assert re.fullmatch(r"generate-00002-of-00004-0-[0-9a-f]{10}", name_of(work()))
    for odd in (
        work(stage="x" * 200),
        work(stage="Ünïcode/..", shard="_-_"),
        work(stage="", shard=""),
        work(shard="9" * 58),
    ):
        assert re.fullmatch(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])", name_of(odd)), name_of(odd)
