"""TorchScript: one file that libtorch and `torch.jit.load` run, with the sizes of picture and noise open.

PyTorch calls TorchScript deprecated and still loads it everywhere; what replaces it, torch.export, fixes sizes that
this model pads by.
"""

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from components.errors import BadInput
from components.export.whole import Whole, example

NAME, FACTS = "model.pt", "facts.json"
CHECKED = (33, 17)
"""LR px, height and width, of the picture that the written file is compared on; it was traced on another size."""


def write(whole: Whole, folder: Path, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Write NAME into an existing folder; what is known of it, for the card.

    Args:
        facts: kept in the file, as FACTS.

    Raises:
        BadInput: the file does not give what the model does.
    """
    path, inputs = folder / NAME, example(whole)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of numbers that tracing keeps as they are, and of TorchScript's future
        whole(*inputs)  # what is made once is made outside of the trace
        traced = torch.jit.trace(whole, inputs, check_trace=False)
        torch.jit.save(traced, path, _extra_files={FACTS: json.dumps(dict(facts))})
        loaded = torch.jit.load(path)
        other = example(whole, *CHECKED)
        difference = float((loaded(*other) - whole(*other)).abs().max())
    if not difference <= 1e-5:
        raise BadInput(f"the traced model differs by {difference:.1g} from the model: nothing is exported")
    return {"file": NAME, "difference": difference}
