"""`dp2o`: all that people type, a file a group of commands. Heavy imports stay inside the commands, so that help and
completion are quick."""

import sys

from components import redaction
from components.interruption import ends_well

RESUMABLE = frozenset({"run", "prepare", "generate", "score", "pair", "train", "evaluate", "report", "register"})
"""Commands that go on where they were stopped: the pipeline and its stages. A literal, as it is read before imports."""


def main(*arguments: str) -> None:
    """The console script; `arguments` come before those of the command line."""
    words = [*arguments, *sys.argv[1:]]
    name = next((word for word in words if not word.startswith("-")), "")
    with ends_well(f"dp2o {name}".rstrip(), resumes=name in RESUMABLE):
        from components.cli.app import app  # noqa: PLC0415  # seconds of imports

        redaction.install()
        with redaction.scrubbed():  # typer has a hook of its own for what nobody catches
            app(words, prog_name="dp2o")


__all__ = ["main"]
