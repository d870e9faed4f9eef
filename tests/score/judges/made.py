"""A Qwen2.5-VL as published judges are, tiny and random; and a judge that answers by PSNR."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2TokenizerFast,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
)

from components.score.judges import Comparing
from components.score.judges.questions import OVERALL, Question, Verdicts
from components.score.judges.reading import named
from components.settings import PairwiseSettings
from components.storage.digests import of_json

MARKS = ("<|endoftext|>", "<|im_end|>", "<|im_start|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>")
CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def write_judge(folder: Path, seed: int = 0) -> None:
    """Save a model of some ten thousand weights that speaks bytes, with its processor."""
    letters = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    letters_only = Tokenizer(models.BPE(vocab=letters, merges=[]))
    letters_only.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    letters_only.decoder = decoders.ByteLevel()
    marks: dict[str, Any] = {"eos_token": MARKS[1], "pad_token": MARKS[0]}
    marks["additional_special_tokens"] = [*MARKS, "<|video_pad|>"]
    tokenizer = Qwen2TokenizerFast(tokenizer_object=letters_only, **marks)
    end, stop, _, opening, closing, picture, video = tokenizer.convert_tokens_to_ids([*MARKS, "<|video_pad|>"])
    images = Qwen2VLImageProcessor(min_pixels=28 * 28, max_pixels=56 * 56)
    Qwen2_5_VLProcessor(images, tokenizer, Qwen2VLVideoProcessor(), chat_template=CHAT).save_pretrained(folder)
    narrow = {"hidden_size": 32, "intermediate_size": 32}
    text = {**narrow, "vocab_size": len(tokenizer), "num_hidden_layers": 1, "num_attention_heads": 2}
    text |= {"num_key_value_heads": 2, "rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]}}
    text |= {"initializer_range": 1.0, "bos_token_id": end, "eos_token_id": stop, "pad_token_id": end}
    vision = {**narrow, "depth": 1, "num_heads": 2, "out_hidden_size": 32, "window_size": 56}
    tokens = {"image_token_id": picture, "video_token_id": video}
    tokens |= {"vision_start_token_id": opening, "vision_end_token_id": closing}
    config = Qwen2_5_VLConfig(text_config=text, vision_config={**vision, "fullatt_block_indexes": [0]}, **tokens)
    torch.manual_seed(seed)
    Qwen2_5_VLForConditionalGeneration(config).eval().save_pretrained(folder)


class ByPsnr(PairwiseSettings):
    """A judge that needs no model: the higher PSNR with the enlarged LR wins."""

    kind: Literal["tests.score.judges.made:BY_PSNR"] = "tests.score.judges.made:BY_PSNR"


def _load(settings: ByPsnr, root: Path, device: torch.device) -> Any:
    def ask(shown: Sequence[Any]) -> str:
        lr, first, second = (part.astype(np.float64) for part in shown if not isinstance(part, str))
        errors = [((image - lr) ** 2).mean() for image in (first, second)]
        return "Both." if errors[0] == errors[1] else "Image 1" if errors[0] < errors[1] else "Image 2"

    return ask


def _read(question: Question, answer: str) -> Verdicts:
    return dict.fromkeys(question.dimensions, named(answer))


BY_PSNR = Comparing(
    settings=ByPsnr,
    questions=lambda settings: (Question("which?", (*settings.dimensions, OVERALL)),),
    read=_read,
    load=_load,
    digest=lambda settings, root: of_json("psnr"),
)
