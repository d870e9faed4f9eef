"""A captioner in transformers' own format, with random weights."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BertTokenizerFast,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipImageProcessor,
    BlipProcessor,
)

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "photo", "of", "sky", "grass", "stone", "cat", "[DEC]"]


def write_captioner(folder: Path, seed: int = 0) -> None:
    """Save a BLIP of a few thousand weights, with its processor."""
    tokens = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, "[UNK]"))
    tokens.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = BertTokenizerFast(tokenizer_object=tokens, additional_special_tokens=["[DEC]"])
    image_processor = BlipImageProcessor(size={"height": 16, "width": 16})
    BlipProcessor(image_processor, tokenizer).save_pretrained(folder)
    text = {"vocab_size": len(WORDS), "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    text |= {"num_attention_heads": 2, "max_position_embeddings": 16, "encoder_hidden_size": 16}
    text |= {"bos_token_id": 12, "eos_token_id": 3, "sep_token_id": 3, "pad_token_id": 0, "initializer_range": 2.0}
    vision = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision |= {"image_size": 16, "patch_size": 8, "initializer_range": 2.0}
    torch.manual_seed(seed)
    config = BlipConfig(text_config=text, vision_config=vision, projection_dim=16)
    BlipForConditionalGeneration(config).eval().save_pretrained(folder)
