"""Reading params.yaml, with all its problems reported at once."""

import sys
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from components.errors import BadInput
from components.settings.agreement import Disagreements
from components.settings.families import FAMILIES
from components.settings.located import check_located
from components.settings.pair import SHORT_PAIR
from components.settings.project import Settings
from components.settings.train import SHORT_TRAIN

WHERE_AND_HOW = ("run.*", "generate.batch", "score.batch", "train.micro_batch", "train.condition_cache_mb")
"""Settings that never change a result but for rounding, so that a command line may override them."""


LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's is ten times as fast, where it is there."""
SHORT = {("pair", "builder"): SHORT_PAIR, ("train", "objective"): SHORT_TRAIN}
"""Settings of a part that may stand in its block instead."""


def load_settings(path: Path = Path("params.yaml"), overrides: Sequence[str] = ()) -> Settings:
    """Read and check params.yaml.

    Its folder joins Python's path, last: parts of a method that the user brought lie there.

    Args:
        overrides: `block.key=value` of those settings that say where and how, never what.

    Raises:
        BadInput: the file is missing or not YAML, or a value is unknown, ill-typed or cannot work; all are listed. Or
            the model or a folder beside it contradicts them.
    """
    if not path.is_file():
        raise BadInput(f"{path} does not exist; run from the project's root or give --params")
    try:
        values: Any = yaml.load(path.read_text(encoding="utf-8"), LOADER)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} is not valid YAML: {error}") from error
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}; look at its rights") from error
    for override in overrides:
        _override(values, override)
    root = str(path.resolve().parent)
    if root not in sys.path:
        sys.path.append(root)
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        problems = [f"  {text}" for item in error.errors() for text in _messages(item, values)]
        raise BadInput(f"{path} has {len(problems)} problem(s):\n" + "\n".join(problems)) from error
    check_located(settings, path.resolve().parent)
    return settings


def _messages(item: Any, values: Any) -> list[str]:
    """The problems of one of pydantic's errors, each after its place; settings that disagree name theirs themselves."""
    cause = item.get("ctx", {}).get("error")
    if isinstance(cause, Disagreements):
        return cause.messages
    return [f"{_place(item['loc'], values)}: {item['msg']}"]


def _override(values: Any, override: str) -> None:
    """Apply one `block.key=value`."""
    name, equals, text = override.partition("=")
    block, _, key = name.partition(".")
    if not equals or not any(fnmatchcase(name, allowed) for allowed in WHERE_AND_HOW):
        raise BadInput(
            f"--set {override}: only settings that never change a result can be set there "
            f"({', '.join(WHERE_AND_HOW)}), as block.key=value; change params.yaml for the others"
        )
    if not isinstance(values, dict) or not isinstance(values.get(block), dict):
        raise BadInput(f"--set {override}: params.yaml has no block {block}")
    try:
        values[block][key] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise BadInput(f"--set {override}: {text!r} is no YAML value; put it in quotes") from error


def _place(loc: tuple[int | str, ...], values: Any) -> str:
    """Where in params.yaml an error is, in the words of whoever wrote it.

    pydantic's own mention of the family after `backbone` is no key there, and a part's setting may stand beside it.
    """
    keys = [str(key) for key in loc]
    if len(keys) > 2 and keys[0] == "backbone" and keys[1] in FAMILIES:
        del keys[1]
    if len(keys) > 2 and keys[2] in SHORT.get((keys[0], keys[1]), ()) and keys[2] in values[keys[0]]:
        del keys[1]
    return ".".join(keys) or "params"
