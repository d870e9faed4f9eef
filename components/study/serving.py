"""Serve a study until somebody ends it, and tell the links."""

import logging
import signal
from collections.abc import Sequence
from pathlib import Path

from components.study import raters
from components.study.manifest import check_pictures, read
from components.study.raters import Rater
from components.study.server import LOCAL, app_of, server_of
from components.study.votes import VoteLog
from components.study.voting import Voting

logger = logging.getLogger("dp2o.study")


def links(base: str, made: Sequence[tuple[Rater, str]]) -> list[str]:
    """A line a rater: name and address."""
    return [f"{rater.name}  {base.rstrip('/')}/r/{token}/" for rater, token in made]


def serve(folder: Path, host: str, port: int, names: Sequence[str]) -> None:
    """Serve the study in `folder`.

    Args:
        host: address to listen on.
        names: further names by which raters reach it, without a port.

    Raises:
        BadInput: the study was changed, or is being served already.
    """
    manifest = read(folder)
    check_pictures(folder, manifest)
    with VoteLog(folder) as log:
        hosts = [*LOCAL, *names] if host in LOCAL else [host, *LOCAL, *names]
        app = app_of(folder, manifest, Voting(manifest, log), hosts)
        if not raters.read(folder):
            logger.warning("nobody is invited yet: `dp2o study invite %s` makes links", manifest.name)
        if host not in LOCAL:
            logger.warning("links and votes travel unencrypted from %s: put a proxy with TLS in front of it", host)
        logger.info("study %s: %s port %d; Ctrl-C ends it, and nothing is lost", manifest.name, host, port)
        # uvicorn ends the requests under way and then raises the signal again, which is no interruption here.
        before = signal.signal(signal.SIGINT, lambda number, frame: None)
        try:
            server_of(app, host, port).run()
        finally:
            signal.signal(signal.SIGINT, before)
        logger.info("ended; %d entries are in the log", len(log.entries))
