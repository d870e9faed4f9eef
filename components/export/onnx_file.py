"""ONNX: one file that onnxruntime runs, with the sizes of picture and noise open, and what is needed to use it."""

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from components.errors import BadInput
from components.export.whole import HR, LR, NOISE, Whole, example

NAME = "model.onnx"
OPSET = 17
"""What the file asks of a runtime; onnxruntime has it since 1.12 (2022)."""
CHECKED = ((19, 26), (33, 17))
"""LR px, height and width, of the pictures that the written file is compared on; it was traced on the first."""
TOLERANCE = 1e-4
INSTALL = "pip install 'dp2o-sr[export]'"


def libraries() -> tuple[Any, Any]:
    """onnx and onnxruntime.

    Raises:
        BadInput: one of them is not installed.
    """
    try:
        import onnx  # noqa: PLC0415  # an optional extra
        import onnxruntime  # noqa: PLC0415
    except ImportError as error:
        raise BadInput(f"--format onnx needs {error.name}, which is not installed here: {INSTALL}") from error
    return onnx, onnxruntime


def write(whole: Whole, folder: Path, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Write NAME into an existing folder; what is known of it, for the card.

    Args:
        facts: kept in the file, as its metadata.

    Raises:
        BadInput: a library is missing, or onnxruntime does not give what the model does.
    """
    onnx, onnxruntime = libraries()
    path, inputs = folder / NAME, example(whole)
    sizes = {name: {2: f"{name}_height", 3: f"{name}_width"} for name in (LR, NOISE, HR)}
    with torch.no_grad(), warnings.catch_warnings():
        # Of numbers that tracing keeps as they are, such as factors, and of the exporter's own future.
        warnings.simplefilter("ignore")
        whole(*inputs)  # what is made once is made outside of the trace
        # torch.export's graphs have no sizes that a network pads by; the exporter of traces has.
        torch.onnx.export(
            whole, inputs, path, dynamo=False, opset_version=OPSET, input_names=[LR, NOISE], output_names=[HR],
            dynamic_axes=sizes,
        )  # fmt: skip
    model = onnx.load(path)
    for key, value in facts.items():
        model.metadata_props.add(key=key, value=value if isinstance(value, str) else json.dumps(value))
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return {"file": NAME, "opset": OPSET, "difference": compared(whole, path, onnxruntime)}


def compared(whole: Whole, path: Path, onnxruntime: Any) -> float:
    """Largest difference of a pixel between the file in onnxruntime and the model, on pictures of several sizes.

    Raises:
        BadInput: it is more than TOLERANCE.
    """
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = 0.0
    for height, width in CHECKED:
        lr, noise = example(whole, height, width)
        with torch.no_grad():
            expected = whole(lr, noise).numpy()
        (given,) = session.run([HR], {LR: lr.numpy(), NOISE: noise.numpy()})
        found = max(found, float(np.abs(given - expected).max()))
    if not found <= TOLERANCE:
        raise BadInput(
            f"onnxruntime gives pictures that differ by {found:.1g} from the model's: nothing is exported; this pair "
            "of torch and onnxruntime does not fit, try the versions of constraints.txt"
        )
    return found
