"""The run's key, by which a flow knows results of its own parts (components/task/seal.py)."""

from __future__ import annotations

import logging
import os
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path

from components.errors import BadInput

logger = logging.getLogger("dp2o.flows")

VARIABLE = "DP2O_RUN_KEY"
"""A key that outlives a run, from a Secret that flows alone have: results of earlier runs count as well."""
SHORTEST = 32
FILE = "run.key"


def run_key(folder: Path | None) -> bytes:
    """The key of the environment; else that of a folder of this machine, made at the first use; else a new one.

    Args:
        folder: of the local launcher; None where processes run elsewhere.

    Raises:
        BadInput: the key is too short to be one.
    """
    given = os.environ.get(VARIABLE, "")
    if given:
        if len(given) < SHORTEST:
            raise BadInput(f"{VARIABLE} has {len(given)} characters: give it {SHORTEST} random ones at least, "
                           "for example of `openssl rand -hex 32`")  # fmt: skip
        return given.encode()
    if folder is not None:
        return _kept(folder / FILE)
    logger.warning("%s is not set: results of other runs, and of this one's earlier pods, are made again", VARIABLE)
    return secrets.token_bytes(SHORTEST)


def _kept(file: Path) -> bytes:
    """The key in `file`, which only this user may read."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if not file.exists():
        handle, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)  # this user's alone
        try:
            with os.fdopen(handle, "wb") as opened:
                opened.write(secrets.token_bytes(SHORTEST))
            try:  # of two that begin, both take the key of one, and never half of it
                os.link(name, file)
            except FileExistsError:
                pass
            except OSError:  # a file system without links
                os.replace(name, file)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(name)
    key = file.read_bytes()
    if len(key) != SHORTEST:
        raise BadInput(f"{file} is no key of ours: remove it, and results are made again once")
    return key
