"""Parts of diffusers pipelines, from folders here: what is missing or does not fit is refused by its setting.

Configurations are read before weights, so that what cannot work costs no time.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import PreTrainedTokenizerBase

from components.errors import BadInput

WAY_OUT = "give the folder that `save_pretrained` wrote, or hf://owner/name@revision for a model of the hub"
Shapes = Mapping[str, tuple[int, ...]]


def read_config(kind: Any, source: Path, setting: str, subfolder: str = "") -> dict[str, Any]:
    """Configuration of a part of `kind` (a diffusers class).

    Raises:
        BadInput: there is none, or it is not JSON.
    """
    try:
        config: dict[str, Any] = kind.load_config(str(source), subfolder=subfolder or None, local_files_only=True)
    except (OSError, ValueError) as error:
        raise BadInput(_cannot_read(source, subfolder, setting, error)) from error
    return config


def read_full_config(kind: Any, source: Path, setting: str, subfolder: str = "") -> dict[str, Any]:
    """`read_config` with the defaults of what the file leaves out, as files of older versions do.

    Raises:
        BadInput: as `read_config`, or no model of `kind` can be made of it.
    """
    config = read_config(kind, source, setting, subfolder)
    try:
        with torch.device("meta"):
            return dict(kind.from_config(config).config)
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise BadInput(
            f"{setting}: {_place(source, subfolder)} does not describe a {kind.__name__} ({error}); "
            "choose another, or restore it from its source"
        ) from error


def read_model(kind: Any, source: Path, setting: str, dtype: torch.dtype, subfolder: str = "") -> Any:
    """A diffusers model in evaluation mode on the CPU.

    Raises:
        BadInput: it is not there or damaged, or lacks tensors: diffusers would make up what is missing.
    """
    try:
        model, report = kind.from_pretrained(
            str(source),
            subfolder=subfolder or None,
            torch_dtype=dtype,
            output_loading_info=True,
            local_files_only=True,
        )
    # diffusers and safetensors raise these for a missing, damaged or misfitting file
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise BadInput(_cannot_read(source, subfolder, setting, error)) from error
    wrong = sorted(str(name) for problem in ("missing_keys", "mismatched_keys") for name in report[problem])
    if wrong:
        raise BadInput(
            f"{setting}: {_place(source, subfolder)} lacks {len(wrong)} tensors of its configuration, first "
            f"{wrong[:3]}; restore it from its source"
        )
    return model.eval()


def read_part(kind: Any, source: Path, setting: str, subfolder: str, **options: Any) -> Any:
    """A tokenizer, a text encoder of transformers, or a scheduler.

    Raises:
        BadInput: it is not there or damaged, or a tokenizer without words: transformers makes one of an empty folder.
    """
    try:
        part = kind.from_pretrained(str(source), subfolder=subfolder, local_files_only=True, **options)
    except (OSError, ValueError, RuntimeError, TypeError, SafetensorError) as error:
        raise BadInput(_cannot_read(source, subfolder, setting, error)) from error
    if isinstance(part, PreTrainedTokenizerBase) and len(part) <= len(set(part.all_special_tokens)):
        raise BadInput(
            f"{setting}: {_place(source, subfolder)} has no vocabulary, only special tokens; restore it from its source"
        )
    return part


def check_pipeline_folder(source: Path, setting: str, parts: tuple[str, ...]) -> None:
    """Refuse a pipeline folder that lacks a part.

    Raises:
        BadInput: there is no such folder, or it lacks model_index.json or one of `parts`.
    """
    if not source.is_dir():
        raise BadInput(f"{setting}: {source} is no folder; {WAY_OUT}")
    missing = [name for name in ("model_index.json", *parts) if not (source / name).exists()]
    if missing:
        raise BadInput(
            f"{setting}: {source} lacks {', '.join(missing)}: it is no complete diffusers pipeline; {WAY_OUT}"
        )


def bare_weights(source: Path) -> Path | None:
    """The file, if `source` is a bare state dict: a .safetensors file, or a folder with one and no config.json."""
    if source.is_file() and source.suffix == ".safetensors":
        return source
    if source.is_dir() and not (source / "config.json").exists():
        files = sorted(source.glob("*.safetensors"))
        if len(files) == 1:
            return files[0]
    return None


def shapes_of(path: Path, setting: str) -> Shapes:
    """Names and shapes in a .safetensors file, from its header alone.

    Raises:
        BadInput: the file is damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise BadInput(f"{setting}: {path} is damaged ({error}); restore it from its source") from error


def check_shapes(found: Shapes, expected: Shapes, setting: str, what: str, way_out: str) -> None:
    """Refuse weights whose names or shapes differ from `expected`.

    Raises:
        BadInput: they do; the first few are named.
    """
    names = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
    if names:
        shown = [f"{name} {found.get(name, 'missing')} for {expected.get(name, 'none')}" for name in names[:3]]
        raise BadInput(f"{setting}: {what}: {len(names)} tensors differ, first {'; '.join(shown)}; {way_out}")


def _place(source: Path, subfolder: str) -> str:
    return str(source / subfolder) if subfolder else str(source)


def _cannot_read(source: Path, subfolder: str, setting: str, error: Exception) -> str:
    if not source.exists():  # the loader's own words are then about a hub that nobody asked for
        return f"{setting}: there is no folder {source}; {WAY_OUT}"
    reason = " ".join(str(error).split())[:300]
    return f"{setting}: {_place(source, subfolder)} cannot be read ({reason}); restore it from its source"
