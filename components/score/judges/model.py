"""The one adapter: pictures and a text to the words of a transformers image-text-to-text model."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from components.errors import BadInput
from components.storage import digests, hub

CODE_VERSION = "1"
"""Raised whenever the same model, pictures and text would give another answer."""

SETTING = "score.judges.model"
READ = frozenset({".json", ".safetensors", ".jinja", ".txt", ".model"})
"""What transformers reads of a model's folder."""

Picture = NDArray[np.uint8]
Ask = Callable[[Sequence[Picture | str]], str]
"""8-bit RGB pictures `[H, W, 3]` and texts, in the order in which they are shown, to an answer."""


class OfModel(Protocol):
    """Settings of a judge that has a model."""

    dtype: Any
    max_tokens: int

    def located(self, root: Path) -> Path:
        """Where the model is."""
        ...


def model_digest(settings: OfModel, root: Path) -> str:
    """Hex sha256 of all files that are read, the precision and the longest answer; no network is built.

    A file of the hub's cache is named by its content there, and is not read.

    Raises:
        BadInput: there is no such folder.
    """
    folder = hub.folder(settings.located(root), SETTING)
    if not folder.is_dir():
        raise BadInput(
            f"{SETTING}: {folder} does not exist; give a folder in transformers' format, or hf://owner/name@revision"
        )
    files = {
        path.relative_to(folder).as_posix(): _content(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix in READ
    }
    return digests.of_json([CODE_VERSION, files, settings.dtype, settings.max_tokens])


def _content(path: Path) -> str:
    blob = path.resolve()
    return blob.name if path.is_symlink() and blob.parent.name == "blobs" else digests.of_file(path)


def load_model(settings: OfModel, root: Path, device: torch.device) -> Ask:
    """The model, decoded greedily: the same pictures and text give the same words.

    Raises:
        BadInput: there is no such model, or it takes no conversation.
    """
    from components.prompts.vision_language import read_model  # noqa: PLC0415  # seconds; who has all answers needs none

    place = settings.located(root)
    processor, model = read_model(place, SETTING, getattr(torch, settings.dtype))
    if getattr(processor, "chat_template", None) is None:
        raise BadInput(f"{SETTING}: {hub.shown(place)} has no chat template: take a model that is talked to")
    return _Model(processor, model.to(device).eval(), settings.max_tokens, device)


class _Model:
    def __init__(self, processor: Any, model: Any, max_tokens: int, device: torch.device) -> None:
        self._processor, self._model, self._max_tokens, self._device = processor, model, max_tokens, device
        for sampled in ("temperature", "top_p", "top_k"):  # transformers warns that greedy decoding reads none of them
            setattr(model.generation_config, sampled, None)

    @torch.no_grad()
    def __call__(self, shown: Sequence[Picture | str]) -> str:
        content = [
            {"type": "text", "text": one} if isinstance(one, str) else {"type": "image", "image": Image.fromarray(one)}
            for one in shown
        ]
        from components.prompts.vision_language import UNUSABLE  # noqa: PLC0415

        try:
            inputs = self._processor.apply_chat_template(
                [[{"role": "user", "content": content}]],
                tokenize=True,
                add_generation_prompt=True,
                return_dict=True,
                return_tensors="pt",
            ).to(self._device)
            tokens = self._model.generate(**inputs, do_sample=False, num_beams=1, max_new_tokens=self._max_tokens)
        except UNUSABLE as error:
            raise BadInput(
                f"{SETTING}: the model cannot compare pictures ({error}): take one whose card says that it takes "
                "several pictures, or lower max_tokens"
            ) from error
        said = tokens[:, inputs["input_ids"].shape[1] :]
        answer: str = self._processor.batch_decode(said, skip_special_tokens=True)[0]
        return answer.strip()
