"""Parts of a method: one is chosen by its `kind`, with settings of its own, or brought by the user.

`kind` is one of the names that this project has, or `package.module:NAME` of a row (settings and function) that the
user wrote. A bare `kind` is the short form of a block with nothing else in it.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from components.errors import BadInput
from components.settings.block import Block


class Part(Block):
    """Settings of one part; `kind` says which part it is."""

    kind: str

    @property
    def is_custom(self) -> bool:
        """Whether the user wrote it."""
        return ":" in self.kind

    @property
    def loaded(self) -> bool:
        """False for what stands in for a part whose libraries this place lacks, as a flow's image lacks torch.

        Its own settings are then checked where it is used.
        """
        return type(self) not in Part.__subclasses__()


Row = TypeVar("Row")
Chosen = TypeVar("Chosen", bound=Part)


class MissingLibrary(ImportError):
    """A library that a brought part imports is not installed in this place."""


def load_row(name: str) -> Any:
    """What `package.module:NAME` names.

    Raises:
        ValueError: there is no such module, or nothing of that name in it.
        MissingLibrary: the module needs a library that is not installed here.
    """
    module_name, _, attribute = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if module_name == missing or module_name.startswith(f"{missing}."):
            raise ValueError(
                f"there is no module {module_name}: it must lie beside params.yaml, or in an installed package"
            ) from error
        raise MissingLibrary(f"{module_name} imports {missing}, which is not installed here") from error
    if not hasattr(module, attribute):
        raise ValueError(f"module {module_name} has nothing named {attribute}")
    return getattr(module, attribute)


def row_of(rows: Mapping[str, Row], part: Part, row_type: type[Row]) -> Row:
    """The row of a part: of `rows`, or the user's.

    Raises:
        BadInput: what the user brought cannot be used.
    """
    if not part.is_custom:
        return rows[part.kind]
    try:
        row = load_row(part.kind)
    except (ValueError, MissingLibrary) as error:
        raise BadInput(f"{part.kind}: {error}") from error
    if not isinstance(row, row_type):
        raise BadInput(f"{part.kind} is {type(row).__name__}, and must be {row_type.__name__}(settings, function)")
    return row


def settings_class(kinds: Mapping[str, type[Chosen]], base: type[Chosen], kind: Any) -> type[Chosen] | None:
    """The settings' class of a kind; None where it cannot be known in this place.

    Raises:
        ValueError: the user's module or row is not there, or is no such row.
    """
    if not isinstance(kind, str) or ":" not in kind:
        return kinds.get(kind) if isinstance(kind, str) else None
    try:
        found = getattr(load_row(kind), "settings", None)
    except MissingLibrary:
        return None
    if not isinstance(found, type) or not issubclass(found, base):
        raise ValueError(f"{kind} must be a row whose settings are a subclass of {base.__name__}")
    return found


def choose(what: str, kinds: Mapping[str, type[Chosen]], base: type[Chosen]) -> Callable[[Any], Chosen]:
    """A validator that makes settings of a block with `kind`, or of a bare kind.

    Args:
        what: the part's name, for messages.
        kinds: settings' class by kind.
        base: what all of them are.
    """

    def validate(value: Any) -> Chosen:
        if isinstance(value, base):
            return value
        block = {"kind": value} if isinstance(value, str) else value
        kind = block.get("kind") if isinstance(block, Mapping) else None
        if not isinstance(kind, str) or (":" not in kind and kind not in kinds):
            raise ValueError(
                f"there is no {what} {value if kind is None else kind!r}: give one of {', '.join(kinds)}, or "
                "package.module:NAME of one of your own, alone or as `kind` of a block with its settings"
            )
        own = settings_class(kinds, base, kind)
        return base.model_construct(**block) if own is None else own.model_validate(block)

    return validate


def kinds_of(*classes: type[Chosen]) -> dict[str, type[Chosen]]:
    """Settings' classes by their `kind`."""
    return {str(settings.model_fields["kind"].default): settings for settings in classes}


def fold(values: Any, name: str, short: Sequence[str], kinds: Mapping[str, type[Chosen]], base: type[Chosen]) -> Any:
    """A raw block whose keys `short` went into its part `name`, as far as that takes them.

    `builder: dp2o` beside `top: 2` is short for `builder: {kind: dp2o, top: 2}`; a part without such a setting leaves
    the key alone, so that another part can be tried by changing one line.

    Raises:
        ValueError: the part and the block both say it.
    """
    if not isinstance(values, Mapping) or name not in values:
        return values
    rest = {key: value for key, value in values.items() if key not in short}
    given = {key: value for key, value in values.items() if key in short and value is not None}
    part = values[name]
    block = {"kind": part} if isinstance(part, str) else part
    if not given or not isinstance(block, Mapping):
        return rest
    twice = sorted(given.keys() & block.keys())
    if twice:
        raise ValueError(f"{twice[0]} is given beside {name} and in it: say it once")
    try:
        own = settings_class(kinds, base, block.get("kind"))
    except ValueError as error:
        raise ValueError(f"{name} {block.get('kind')}: {error}") from error
    taken = {key: value for key, value in given.items() if own is not None and key in own.model_fields}
    return rest | {name: {**block, **taken}}
