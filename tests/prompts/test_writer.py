"""What a picture from outside of the dataset is prompted with."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from components.errors import BadInput
from components.prompts.captioner import Captioner
from components.prompts.writer import prompt_writer
from components.settings import PromptSettings, SD2ControlNetSettings, TinyFlowSettings

CPU = torch.device("cpu")
PICTURE = np.full((8, 8, 3), 90, np.uint8)
TINY = TinyFlowSettings(family="tiny_flow", path=Path("x"), steps=1, colour_fix="none")
SD2 = SD2ControlNetSettings(
    family="sd2_controlnet", path=Path("x"), base=Path("y"), steps=1, guidance_scale=1.0, colour_fix="none"
)


@pytest.mark.parametrize(("prompt", "text"), [({"text": "sharp"}, "sharp"), ({"kind": "column"}, "")])
def test_without_a_model(prompt: dict[str, Any], text: str) -> None:
    assert prompt_writer(PromptSettings(**prompt), SD2, Path(), CPU)(PICTURE) == text


def test_the_captioner_of_training_writes_it(captioner_folder: Path) -> None:
    prompt = PromptSettings(kind="captioner", model=Path(captioner_folder.name), text="a", max_tokens=6)
    write = prompt_writer(prompt, SD2, captioner_folder.parent, CPU)
    assert write(PICTURE) == Captioner.load(captioner_folder, "a", 6, CPU)(PICTURE)


def test_a_model_that_reads_no_text_loads_no_captioner() -> None:
    prompt = PromptSettings(kind="captioner", model=Path("nowhere"))
    assert prompt_writer(prompt, TINY, Path(), CPU)(PICTURE) == ""
    with pytest.raises(BadInput, match="nowhere is no image-to-text model"):
        prompt_writer(prompt, SD2, Path(), CPU)
