"""Vision-language models of transformers, from a folder of this machine; no code that a model brings is run."""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForImageTextToText, AutoProcessor
from transformers.utils import logging as transformers_logging

from components.errors import BadInput
from components.storage import hub

UNUSABLE = (ValueError, TypeError, IndexError)
"""What transformers raises where a model cannot work on these pictures with this text."""


def read_model(source: Path, setting: str, dtype: torch.dtype) -> tuple[Any, Any]:
    """Processor and model at a place of `hub.source`.

    Args:
        source: folder in transformers' format, or a model of the hub that is here.
        setting: that names it, for messages.
        dtype: of the weights.

    Raises:
        BadInput: there is no such model.
    """
    source = hub.folder(source, setting)
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        # Code that a model brings is never run: by default transformers asks whoever sits there.
        processor = AutoProcessor.from_pretrained(str(source), local_files_only=True, trust_remote_code=False)
        model, report = AutoModelForImageTextToText.from_pretrained(
            str(source),
            dtype=dtype,
            output_loading_info=True,
            local_files_only=True,
            trust_remote_code=False,
        )
    # what transformers raises for a missing, damaged or unknown model
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BadInput(
            f"{setting}: {source} is no image-to-text model that can be read here ({reason}); give a "
            "folder that `save_pretrained` wrote with its processor, or hf://owner/name@revision of the hub"
        ) from error
    finally:
        transformers_logging.set_verbosity(verbosity)
    missing = sorted(report["missing_keys"])
    if missing:
        raise BadInput(f"{setting}: {source} lacks {len(missing)} weights, first {missing[:3]}")
    return processor, model
