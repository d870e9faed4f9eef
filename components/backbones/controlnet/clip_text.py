"""Prompts to the text embeddings that Stable Diffusion's cross-attention reads."""

import logging
from collections import OrderedDict

import torch
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

logger = logging.getLogger("dp2o.backbones")

KEPT = 256
"""Embeddings kept; at 77 tokens of 1024 values 0.3 MB each. A fixed prompt is encoded once."""


class ClipText:
    """A frozen CLIP text encoder; the most recent prompts are remembered."""

    def __init__(self, tokenizer: CLIPTokenizer, encoder: CLIPTextModel) -> None:
        self.tokenizer = tokenizer
        self.encoder = encoder
        self._kept: OrderedDict[str, Tensor] = OrderedDict()

    def encode(self, prompts: tuple[str, ...]) -> Tensor:
        """Last hidden states `[B, L, D]`, float32; prompts beyond the tokenizer's length are cut, with a warning.

        One by one, so that a prompt's bits do not depend on the others.
        """
        return torch.stack([self._one(prompt) for prompt in prompts])

    def _one(self, prompt: str) -> Tensor:
        if prompt in self._kept:
            self._kept.move_to_end(prompt)
            return self._kept[prompt]
        tokens = self.tokenizer(
            prompt, padding="max_length", max_length=self.tokenizer.model_max_length, truncation=True,
            return_tensors="pt",
        )  # fmt: skip
        wanted = len(self.tokenizer(prompt, verbose=False).input_ids)
        if wanted > self.tokenizer.model_max_length:
            logger.warning("prompt cut from %d to %d tokens: %s", wanted, self.tokenizer.model_max_length, prompt[:80])
        device = self.encoder.device
        masked = getattr(self.encoder.config, "use_attention_mask", False)
        mask = tokens.attention_mask.to(device) if masked else None
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            hidden: Tensor = self.encoder(tokens.input_ids.to(device), attention_mask=mask)[0]
        self._kept[prompt] = hidden[0].float()
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return self._kept[prompt]
