"""A registered model as files: MLflow's folder around weights in safetensors and settings in JSON.

Who reads one takes the weights and the settings, and nothing else: MLmodel may name code, modules and pickles, and
whoever may write the folder chooses them. Who writes one makes all the rest anew, of what is installed here.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Any

import mlflow
import yaml

from components.errors import BadInput
from components.serving import pyfunc
from components.storage import digests

MLMODEL, BACKBONE = "MLmodel", "backbone"
PLAIN = (".safetensors", ".json")
"""Endings of the files that a model is built from. Weights in any other form are refused: unpickling them runs code."""
REQUIREMENTS = ("dp2o-sr", "diffusers", "mlflow", "numpy", "pandas", "pillow", "safetensors", "torch")
_SERVED = Path(__file__).with_name("served_model.py")


@dataclass(frozen=True)
class Package:
    """What a model is built from.

    Attributes:
        backbone: folder with nothing but safetensors and JSON in it.
        config: the settings that were stored beside it; see `ServedConfig`.
        created: when the model was registered, as MLmodel says it.
    """

    backbone: Path
    config: dict[str, Any]
    created: str = ""

    @property
    def digest(self) -> str:
        """Of all that determines what the model gives; its own name and time are none of it."""
        return digests.of_json([files_of(self.backbone), self.config])


def arguments(backbone: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """What `mlflow.pyfunc.log_model` and `save_model` take beside a place."""
    return {
        "python_model": str(_SERVED),
        "artifacts": {BACKBONE: str(backbone)},
        "model_config": dict(config),
        "signature": pyfunc.SIGNATURE,
        "input_example": pyfunc.input_example(),
        # Named, because MLflow would otherwise guess them by importing everything in another process.
        "pip_requirements": [f"{package}=={metadata.version(package)}" for package in REQUIREMENTS],
    }


def read(folder: Path) -> Package:
    """Weights and settings of a model's folder; nothing in it is imported, run or unpickled.

    Raises:
        BadInput: it is no folder of this project's, or has weights in another form than safetensors.
    """
    path = folder / MLMODEL
    try:
        content = yaml.safe_load(path.read_text())
        function, created = content["flavors"]["python_function"], str(content.get("utc_time_created", ""))
        place, config = PurePosixPath(function["artifacts"][BACKBONE]["path"]), function["config"]
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError) as error:
        raise BadInput(
            f"{MLMODEL} is none that `dp2o register` writes ({error!r}): register the model again"
        ) from error
    backbone = folder / place
    if place.is_absolute() or ".." in place.parts or not place.parts or not backbone.is_dir():
        raise BadInput(f"{MLMODEL} says that the weights are in {place}: that is no folder of the model")
    if not isinstance(config, dict):
        raise BadInput(f"{MLMODEL} has no settings of the model: register it again")
    for name in files_of(backbone):
        if not name.endswith(PLAIN):
            raise BadInput(
                f"{place / name} is neither safetensors nor JSON: it is not read, since other forms can run code; "
                "register the model again"
            )
    return Package(backbone, config, created)


def write(folder: Path, package: Package) -> None:
    """The folder that MLflow serves, made of `package` and of what is installed here; the same bytes each time.

    Args:
        folder: must not exist.
    """
    mlflow.pyfunc.save_model(path=str(folder), **arguments(package.backbone, package.config))
    path = folder / MLMODEL
    content = yaml.safe_load(path.read_text())
    # Paths of this machine say nothing on another; a name and a time of this minute would make other bytes each time.
    content["flavors"]["python_function"]["artifacts"][BACKBONE]["uri"] = BACKBONE
    content["flavors"]["python_function"]["model_code_path"] = _SERVED.name
    content |= {"model_uuid": package.digest[:32], "utc_time_created": package.created}
    path.write_text(yaml.safe_dump(content))
    shutil.rmtree(folder / "__pycache__", ignore_errors=True)


def files_of(folder: Path) -> dict[str, str]:
    """Hex sha256 of every file below `folder`, by its path in it.

    Raises:
        BadInput: something is no plain file, e.g. a link, which could lead out of the folder.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise BadInput(f"{name} of the model is no plain file: register it again")
        if path.is_file():
            found[name] = digests.of_file(path)
    return found
