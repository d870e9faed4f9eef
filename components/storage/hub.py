"""A model that settings name: a path is a path, and `hf://owner/name@revision` is a model of the Hugging Face hub.

Nothing is asked of the hub unless somebody says so by HF_HUB_OFFLINE=0: a model is looked for in the hub's cache of
this machine (HF_HOME). Loaders are given folders alone, so that the name of a folder that is missing goes nowhere.
"""

import os
import re
from pathlib import Path

from components.errors import BadInput

SCHEME = "hf:"
"""First part of such a path; pathlib makes one slash of two."""
LATEST = "main"
_REPOSITORY = re.compile(r"[\w][\w.-]*/[\w][\w.-]*")
_REVISION = re.compile(r"[\w][\w./-]*")
_PIPELINE = ["*.json", "*.txt", "*/*"]
"""Of a text-to-image model what its parts need: the whole model in one file beside them is not taken."""
_NOT_TAKEN = ["*.bin", "*.ckpt", "*.pt", "*.pth", "*.pkl", "*.h5", "*.msgpack", "*.onnx*", "*.fp16.*", "*.non_ema.*"]
"""Weights that are there as safetensors as well, and pickles."""


def is_hub(name: Path) -> bool:
    """Whether it is a model of the hub."""
    return name.parts[:1] == (SCHEME,)


def shown(name: Path) -> str:
    """As people write it."""
    return f"hf://{name.as_posix().removeprefix(SCHEME).lstrip('/')}" if is_hub(name) else str(name)


def bare_name(name: Path) -> str:
    """Last part of the name, without a revision."""
    return shown(name).partition("@")[0].rsplit("/", 1)[-1] if is_hub(name) else name.name


def source(name: Path, root: Path) -> Path:
    """`name` below `root`; a model of the hub unchanged."""
    return name if is_hub(name) else root / name


def folder(place: Path, setting: str, pipeline: bool = False) -> Path:
    """The folder of this machine where a located model is: of one of the hub, that of its cache.

    Args:
        setting: that names it, for messages.
        pipeline: whether it has its parts in folders of their own.

    Raises:
        BadInput: it is not in the cache, and the hub is not to be asked, or does not give it.
    """
    if not is_hub(place):
        return place
    name, _, revision = shown(place).removeprefix("hf://").partition("@")
    if not _REPOSITORY.fullmatch(name) or not _REVISION.fullmatch(revision or LATEST) or ".." in f"{name}{revision}":
        raise BadInput(f"{setting}: {shown(place)} is no model of the hub: write hf://owner/name@revision")
    from huggingface_hub import snapshot_download  # noqa: PLC0415  # a second, which who has folders need not wait
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError  # noqa: PLC0415

    offline = os.environ.get("HF_HUB_OFFLINE", "1").strip().lower() not in ("0", "no", "off", "false")
    try:
        found = snapshot_download(
            name,
            revision=revision or LATEST,
            local_files_only=offline,
            allow_patterns=_PIPELINE if pipeline else None,
            ignore_patterns=_NOT_TAKEN,
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        way_out = (
            f"the hub was not asked. `hf download {name} --revision {revision or LATEST}` brings it, or "
            "HF_HUB_OFFLINE=0 lets this command ask"
            if offline
            else f"the hub did not give it ({reason}); check the name, HF_TOKEN where it is gated, and the network"
        )
        raise BadInput(f"{setting}: {shown(place)} is not in this machine's cache, and {way_out}") from error
    return Path(found)
