"""The registered model as MLflow serves it: pictures in, restored pictures out, both base64 text."""

import base64
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR
from mlflow.pyfunc import PythonModel, PythonModelContext
from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema
from numpy.typing import NDArray
from pydantic import ValidationError

from components.artifacts.depth import as_8bit
from components.artifacts.shards import encode_png
from components.errors import BadInput
from components.serving.build import upscaler_of
from components.serving.limits import ServingLimits
from components.serving.requests import Requests, refusal
from components.settings import BackboneSettings, MixtureSettings, PromptSettings
from components.upscale.upscaler import Tiling, Upscaler, default_tiling

SIGNATURE = ModelSignature(
    inputs=Schema(
        [
            ColSpec("string", "image"),
            ColSpec("long", "seed", required=False),
            ColSpec("string", "prompt", required=False),
        ]
    ),
    outputs=Schema([ColSpec("string", "image")]),
    params=ParamSchema(
        [ParamSpec(name, "double", known.default) for name, known in MixtureSettings.model_fields.items()]
    ),
)
"""In: `image`, base64 of a photo file (PNG, JPEG, WebP, TIFF); `seed`, 0 where absent; `prompt`, where
absent the training's own. Parameters, of all rows: those of `MixtureSettings`. Out: `image`, base64 PNG."""


def input_example() -> pd.DataFrame:
    """One row with an 8 x 8 px picture."""
    ramp = np.linspace(0, 255, 8).astype(np.uint8)
    picture = np.ascontiguousarray(np.broadcast_to(ramp[:, None], (8, 8, 3)))
    return pd.DataFrame({"image": [base64.b64encode(encode_png(picture)).decode()], "seed": [0]})


def model_config(
    settings: BackboneSettings,
    prompt: PromptSettings | None = None,
    tiling: Tiling | None = None,
    digest: str = "",
) -> dict[str, Any]:
    """What is stored beside the weights; `mlflow.pyfunc.load_model(..., model_config={"device": "cuda"})` overrides.

    A frozen base model is not stored, but named: `base` says where it is on another machine, and `digest`, of all the
    weights that restore, tells whether it is the same there.
    """
    tiling = tiling or default_tiling(settings)
    return {
        "backbone": settings.model_dump(mode="json", exclude={"path"}),
        "base": "",
        "digest": digest,
        "prompt": (prompt or PromptSettings()).model_dump(mode="json"),
        "device": "auto",
        "tile": tiling.tile,
        "overlap": tiling.overlap,
        "max_pixels": tiling.max_pixels,
    }


class ServedUpscaler(PythonModel):  # type: ignore[misc]  # mlflow has no type information
    """An `Upscaler` behind MLflow's interface; `upscaler` is set once the model is loaded."""

    upscaler: Upscaler

    def __init__(self) -> None:
        self.requests = Requests(ServingLimits())

    def load_context(self, context: PythonModelContext) -> None:
        """Build it of artifact `backbone` with the stored sampling settings.

        Raises:
            BadInput: see `upscaler_of`.
        """
        limits = ServingLimits.of(context.model_config, os.environ)
        self.requests = Requests(limits)
        config = dict(context.model_config) | {"max_pixels": limits.max_pixels}
        self.upscaler = upscaler_of(Path(context.artifacts["backbone"]), config)

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Restore each row's `image`; see SIGNATURE.

        Raises:
            MlflowException: a row cannot be used, or the request is beyond the limits (INVALID_PARAMETER_VALUE, so that
                a server answers 400); too many wait (REQUEST_LIMIT_EXCEEDED, 429); or the network failed on it
                (INTERNAL_ERROR, 500).
        """
        count = len(model_input)
        seeds = model_input["seed"] if "seed" in model_input else [0] * count
        prompts = model_input["prompt"] if "prompt" in model_input else [None] * count
        mixture = _mixture(params or {})
        with self.requests.entered():
            rows = zip(self.requests.pictures(list(model_input["image"])), seeds, prompts, strict=True)
            restored = [
                self._restore(
                    row, picture, 0 if pd.isna(seed) else int(seed), None if pd.isna(text) else str(text), mixture
                )
                for row, (picture, seed, text) in enumerate(rows)
            ]
        return pd.DataFrame({"image": restored})

    def _restore(
        self, row: int, picture: NDArray[np.uint8], seed: int, prompt: str | None, mixture: MixtureSettings
    ) -> str:
        try:
            return base64.b64encode(
                encode_png(as_8bit(self.upscaler(picture, seed, prompt=prompt, mixture=mixture)))
            ).decode()
        except BadInput as error:
            raise refusal(f"row {row}: {error}") from error
        except (RuntimeError, MemoryError) as error:
            # MLflow would answer 400, as if the request were wrong, with a traceback for whoever asks.
            raise MlflowException(
                f"row {row} may be right, but the model failed: {error}", error_code=INTERNAL_ERROR
            ) from error


def _mixture(params: Mapping[str, Any]) -> MixtureSettings:
    """What a request's parameters ask for.

    Raises:
        MlflowException: one is beyond its limits (INVALID_PARAMETER_VALUE, 400).
    """
    try:
        return MixtureSettings(**params)
    except ValidationError as error:
        told = "; ".join(f"params.{item['loc'][0]} is {item['input']}: {item['msg']}" for item in error.errors())
        raise refusal(told) from error
