"""The command line that a flow writes is the one that a process reads."""

from itertools import product
from pathlib import Path

import pytest

from components.artifacts.shards import Shard
from components.stages import OPERATIONS, STAGES, Action
from components.stages.invocation import Invocation

WAYS: list[tuple[Shard | None, Action]] = [
    (None, "run"),
    (Shard(3, 7), "run"),
    (Shard(0, 1), "publish"),
    (None, "gather"),
]


@pytest.mark.parametrize("stage", [*STAGES, *OPERATIONS])
@pytest.mark.parametrize(("shard", "action"), WAYS)
def test_what_is_written_is_read_as_it_was(stage: str, shard: Shard | None, action: Action) -> None:
    tasks = [(None, 0, 1, None), ("s3://b/dp2o/tasks/x.json", 2, 8, "runs/1/logs/a b.log")]
    places = [Path("params.yaml"), Path("/a folder/params.yaml")]
    settings: list[tuple[str, ...]] = [(), ("run.threads=2", "run.device=cuda:1")]
    for (task, halvings, processes, log), params, chosen in product(tasks, places, settings):
        invocation = Invocation(stage, params, shard, action, chosen, task, halvings, processes, log)
        module, *arguments = invocation.argv
        assert module == f"components.{stage}"
        assert Invocation.parse(stage, arguments) == invocation


def test_defaults_are_no_arguments() -> None:
    assert Invocation("train").argv == ["components.train"]
    assert Invocation.parse("train", []) == Invocation("train")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--shard", "4/4"], "expected i/n"),
        (["--publish", "--gather"], "not allowed with"),
        (["--halvings", "1"], "go with --task"),
        (["--processes", "2"], "go with --task"),
        (["--log", "x"], "go with --task"),
    ],
)
def test_what_cannot_be_meant_is_refused(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        Invocation.parse("generate", arguments)
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err
