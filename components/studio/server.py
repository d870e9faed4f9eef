"""Starts the page's server, and says where it is."""

import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

import uvicorn

from components.artifacts import paths
from components.errors import BadInput
from components.metrics.suite import Suite
from components.photos.limits import Limits
from components.serving.limits import ServingLimits
from components.storage.temporary import held_folder
from components.studio.app import application
from components.studio.guard import is_local
from components.studio.options import MOST_SEEDS
from components.studio.restoring import Restorer
from components.studio.workroom import Workroom
from components.upscale.upscaler import Upscaler

PREFIX = "dp2o-studio-"


def run(
    upscaler: Upscaler,
    judge: Callable[[], Suite],
    model: str,
    host: str,
    port: int,
    say: Callable[[str], None],
    prompt: str | None = None,
) -> None:
    """Serve until Ctrl-C or SIGTERM; what was uploaded and made is removed then.

    Args:
        judge: loads the metrics that need no HR.
        model: as it was named.
        port: 0: any that is free.
        say: told the page's address.

    Raises:
        BadInput: the address cannot be listened on.
    """
    limits = Limits.of(upscaler.tiling.max_pixels)
    serving = ServingLimits(max_rows=1, max_pixels=limits.max_pixels, max_bytes=limits.max_bytes)
    about = {
        "model": model,
        "usual": model == paths.BEST.as_posix(),
        "digest": upscaler.digest[:12],
        "scale": upscaler.backbone.scale,
        "base": upscaler.has_base,
        "dial": upscaler.backbone.has_dial,
        "max_pixels": limits.max_pixels,
        "most_seeds": MOST_SEEDS,
    }
    listening = _listening(host, port)
    with (
        listening,
        held_folder(PREFIX, Path(tempfile.gettempdir())) as folder,
        Workroom(Restorer(upscaler, judge, prompt), limits, folder) as workroom,
    ):
        app = application(workroom, about, serving, host)
        config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off", server_header=False)
        say(f"http://{_written(host)}:{listening.getsockname()[1]}/")
        uvicorn.Server(config).run(sockets=[listening])


def _listening(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise BadInput(
            f"{_written(host)}:{port} cannot be listened on: {error.strerror or error}; give another --port"
            + ("" if is_local(host) else ", or another --host")
        ) from error


def _written(host: str) -> str:
    """As an address in a browser has it."""
    return f"[{host}]" if ":" in host else host
