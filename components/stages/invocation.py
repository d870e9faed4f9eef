"""The command line of a stage, written by whoever starts one and read by the process that is started. Pure."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from components.artifacts.shards import Shard
from components.errors import BadInput
from components.stages import OPERATIONS, STAGES, Action

PARAMS = Path("params.yaml")


@dataclass(frozen=True)
class Invocation:
    """`python -m components.<stage> [--shard i/n] …`: which part of what, where, and how.

    Attributes:
        stage: one of STAGES or OPERATIONS.
        params: the settings; data are beside them.
        shard: only this part of the work.
        action: what becomes of the part.
        settings: `block.key=value` that say where and how, never what.
        task: URL of a task document: inputs come from its store, and outputs go there. The next three go with it.
        halvings: how often the batches are halved.
        processes: of train, one a GPU.
        log: where in the store the log goes.
    """

    stage: str
    params: Path = PARAMS
    shard: Shard | None = None
    action: Action = "run"
    settings: tuple[str, ...] = ()
    task: str | None = None
    halvings: int = 0
    processes: int = 1
    log: str | None = None

    @classmethod
    def parse(cls, stage: str, arguments: Sequence[str] | None = None) -> Invocation:
        """Read what follows the module's name, by default this process's own; exits with 2 where that is nothing."""
        parser = _parser(stage)
        parsed = parser.parse_args(arguments)
        try:
            shard = Shard.parse(parsed.shard) if parsed.shard else None
        except BadInput as error:
            parser.error(str(error))
        if not parsed.task and (parsed.halvings or parsed.processes != 1 or parsed.log):
            parser.error("--halvings, --processes and --log go with --task")
        return cls(
            stage=stage,
            params=parsed.params,
            shard=shard,
            action="publish" if parsed.publish else "gather" if parsed.gather else "run",
            settings=tuple(parsed.set),
            task=parsed.task,
            halvings=parsed.halvings,
            processes=parsed.processes,
            log=parsed.log,
        )

    @property
    def label(self) -> str:
        """Which part, for people and for names of Jobs: `00001-of-00004`, `gather` or `whole`."""
        return self.shard.name if self.shard else "whole" if self.action == "run" else self.action

    @property
    def argv(self) -> list[str]:
        """What follows `python -m`: the module's name, and what `parse` reads."""
        line = [f"components.{self.stage}"]
        if self.params != PARAMS:
            line += ["--params", str(self.params)]
        if self.task is not None:
            line += ["--task", self.task]
        if self.log is not None:
            line += ["--log", self.log]
        if self.halvings:
            line += ["--halvings", str(self.halvings)]
        if self.processes != 1:
            line += ["--processes", str(self.processes)]
        for setting in self.settings:
            line += ["--set", setting]
        if self.shard is not None:
            line += ["--shard", str(self.shard)]
        if self.action != "run":
            line.append(f"--{self.action}")
        return line


def _parser(stage: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m components.{stage}", description=(STAGES | OPERATIONS)[stage])
    parser.add_argument("--params", type=Path, default=PARAMS, help="settings; data are beside it")
    parser.add_argument("--shard", metavar="i/n", help="only part i of n of the work, into the cache")
    parts = parser.add_mutually_exclusive_group()
    parts.add_argument("--publish", action="store_true", help="publish the part of --shard beside the others")
    parts.add_argument("--gather", action="store_true", help="join the published parts")
    parser.add_argument("--set", action="append", default=[], metavar="block.key=value", help="a setting that says "
                        "where and how, never what, for example generate.batch=2")  # fmt: skip
    parser.add_argument("--task", metavar="URL", help="a task document: inputs come from its store, outputs go there")
    parser.add_argument("--halvings", type=int, default=0, help="with --task: halve the batches so many times")
    parser.add_argument("--processes", type=int, default=1, help="with --task: processes of train, one a GPU")
    parser.add_argument("--log", metavar="KEY", help="with --task: where in the store the log goes")
    return parser
