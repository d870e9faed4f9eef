"""A captioner or tagger of transformers: an LR image in, its prompt out; once per LR, kept by content."""

import logging
from pathlib import Path
from typing import Any, Literal

import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import TypeAdapter

from components.backbones.states import state_digest
from components.errors import BadInput
from components.prompts.vision_language import UNUSABLE, read_model
from components.storage import digests
from components.storage.cache import CacheFolder
from components.storage.publish import write_json

logger = logging.getLogger("dp2o.prompts")

CODE_VERSION = "1"
"""Raised whenever the same model and picture would give another text."""


class Captioner:
    """Greedy decoding in float32: the same picture gives the same words.

    Args:
        model: an `AutoModelForImageTextToText` (BLIP, GIT, Florence-2, a vision encoder-decoder …).
        processor: of that model.
        text: what the model is given beside the picture: a beginning, a question or a task; empty for none.
        max_tokens: longest caption.
        device: where it runs.
    """

    def __init__(self, model: Any, processor: Any, text: str, max_tokens: int, device: torch.device) -> None:
        self._model = model.to(device).eval()
        self._processor, self._text, self._max_tokens, self._device = processor, text, max_tokens, device
        self.digest = digests.of_json([CODE_VERSION, state_digest(self._model.state_dict()), text, max_tokens])

    @classmethod
    def load(cls, source: Path, text: str, max_tokens: int, device: torch.device) -> "Captioner":
        """From a folder in transformers' format, or a model of the hub that is here (`hub.source`).

        Raises:
            BadInput: there is no such model, or it cannot caption.
        """
        processor, model = read_model(source, "prepare.prompt.model", torch.float32)
        return cls(model, processor, text, max_tokens, device)

    @torch.no_grad()
    def __call__(self, image: NDArray[Any]) -> str:
        """Caption of an 8-bit RGB image `[h, w, 3]`, on one line.

        Raises:
            BadInput: the model cannot work on a picture with this `text`.
        """
        given = {"images": Image.fromarray(image), "return_tensors": "pt"} | (
            {"text": self._text} if self._text else {}
        )
        try:
            inputs = self._processor(**given).to(self._device)
            tokens = self._model.generate(**inputs, do_sample=False, num_beams=1, max_new_tokens=self._max_tokens)
        except UNUSABLE as error:
            raise BadInput(
                f"prepare.prompt.model cannot caption a picture with text {self._text!r} ({error}); "
                "set prepare.prompt.text to what the model's card says, lower max_tokens, or take another model"
            ) from error
        text: str = self._processor.batch_decode(tokens, skip_special_tokens=True)[0]
        return " ".join(text.split())


class CaptionCache:
    """Captions by model and LR image; a damaged file counts as absent."""

    def __init__(self, captioner: Captioner, cache: CacheFolder) -> None:
        self._captioner = captioner
        self._folder = cache.below("prompts", captioner.digest[:16])
        self.digest = captioner.digest
        self.made = 0

    def __call__(self, image: NDArray[Any]) -> str:
        """Caption of an 8-bit RGB LR image `[h, w, 3]`."""
        path = self._folder.path / f"{digests.of_pixels(image)}.json"
        known = self._folder.read(path, _prompt)
        if known is not None:
            return known
        prompt = self._captioner(image)
        write_json(path, {"prompt": prompt})
        self._folder.keep(path)
        self.made += 1
        return prompt


def _prompt(content: bytes) -> str:
    return TypeAdapter(dict[Literal["prompt"], str]).validate_json(content, strict=True)["prompt"]
