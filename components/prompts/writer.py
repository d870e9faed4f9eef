"""The prompt of a picture that no table knows, as `upscale` and a served model need it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from components.settings import BackboneSettings, PromptSettings
from components.settings.families import family_of
from components.storage.hub import source

Writer = Callable[[NDArray[np.uint8]], str]
"""8-bit RGB LR `[h, w, 3]` to its prompt."""


def prompt_writer(prompt: PromptSettings, backbone: BackboneSettings, root: Path, device: torch.device) -> Writer:
    """What wrote the prompts of training, as far as it can: a manifest's column has none for another picture.

    Raises:
        BadInput: the captioner does not load.
    """
    if not family_of(backbone.family).limits.prompts:
        return lambda picture: ""
    if prompt.kind == "captioner" and prompt.model is not None:
        from components.prompts.captioner import Captioner  # noqa: PLC0415  # transformers takes seconds to import

        return Captioner.load(source(prompt.model, root), prompt.text, prompt.max_tokens, device)
    return lambda picture: prompt.text
