import logging

import pytest
import torch
from transformers import CLIPTextConfig, CLIPTextModel

from components.backbones.controlnet import clip_text
from components.backbones.controlnet.clip_text import ClipText
from tests.backbones.tiny_pipelines import LETTERS, TOKENS, clip_tokenizer


@pytest.fixture
def text() -> ClipText:
    torch.manual_seed(0)
    config = CLIPTextConfig(
        vocab_size=2 + 2 * len(LETTERS), hidden_size=8, intermediate_size=8, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=TOKENS, bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    return ClipText(clip_tokenizer(), CLIPTextModel(config).eval())


def test_a_row_is_its_prompts_and_nobody_elses(text: ClipText) -> None:
    both = text.encode(("a cat", "a dog"))
    assert both.shape == (2, TOKENS, 8)
    assert both.dtype == torch.float32
    assert not both.requires_grad
    assert not torch.allclose(both[0], both[1])
    assert torch.equal(text.encode(("a dog", "", "a cat"))[2], both[0])
    tokens = text.tokenizer("a cat", padding="max_length", max_length=TOKENS, return_tensors="pt").input_ids
    assert torch.equal(text.encoder(tokens)[0][0], both[0])


def test_a_prompt_is_encoded_once_while_it_is_remembered(text: ClipText, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip_text, "KEPT", 2)
    calls: list[int] = []
    text.encoder.register_forward_hook(lambda *_: calls.append(1))
    for prompts, expected in ((("a", "a", "b"), 2), (("b", "a"), 2), (("c",), 3), (("a",), 3), (("b",), 4)):
        text.encode(prompts)
        assert len(calls) == expected, prompts


def test_a_long_prompt_is_cut_with_a_warning(text: ClipText, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "dp2o.backbones"):
        encoded = text.encode(("a" * 40,))
    assert "prompt cut from 42 to 16 tokens" in caplog.text
    assert torch.equal(encoded, text.encode(("a" * 39 + "b",)))
