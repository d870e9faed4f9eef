"""What the arena is asked: compositions, budget, search and seeds, as a YAML file says. Pure but for the reading."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from components.errors import BadInput
from components.settings.block import Block, Count, Positive

Tree = dict[str, Any]
BASE = "base"
"""Name of the model without any training, which every composition is compared with."""
CHANGEABLE = ("pair", "train")
"""Blocks that a composition may change: the others are what all share."""


def merged(base: Mapping[str, Any], change: Mapping[str, Any]) -> Tree:
    """`base` with the leaves of `change` put in its place."""
    result = dict(base)
    for key, value in change.items():
        inner = result.get(key)
        result[key] = merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return result


class Composition(Block):
    """A method, as a change of the shared settings.

    Attributes:
        table: heading under which it is shown.
        about: what it is, in a line.
        settings: merged into the shared ones.
        steps: optimiser steps, in place of those that the budget leaves; its passes are then not those of the others.
    """

    table: str
    about: str
    settings: dict[str, dict[str, Any]] = Field(default_factory=dict)
    steps: Count | None = None

    @model_validator(mode="after")
    def _only_what_may_differ(self) -> "Composition":
        others = sorted(set(self.settings) - set(CHANGEABLE))
        if others:
            raise ValueError(
                f"settings.{others[0]}: a composition may change {' and '.join(CHANGEABLE)} alone, what else there is "
                "is shared by all: put it under the recipe's own settings"
            )
        return self


class Search(Block):
    """The search for a learning rate, the same for all compositions.

    Attributes:
        factors: of the composition's learning rate; each is one training.
        seed: of these trainings; none of those that are judged.
    """

    factors: Annotated[list[Positive], Field(min_length=1)]
    seed: int


class Axes(Block):
    """Metrics of the Pareto picture."""

    fidelity: str
    perception: str


class Recipe(Block):
    """See `benchmarks/arena.yaml`, which explains each.

    Attributes:
        passes: network passes a composition may take.
        checkpoint: of a training, what is judged.
        points: validations along a training.
        standard: the composition that others are compared with.
    """

    settings: dict[str, dict[str, Any]] = Field(default_factory=dict)
    passes: Count
    search: Search
    seeds: Annotated[list[int], Field(min_length=1)]
    checkpoint: Literal["last", "best"]
    points: Count
    standard: str
    axes: Axes
    compositions: dict[str, Composition]

    @model_validator(mode="after")
    def _consistent(self) -> "Recipe":
        if BASE in self.compositions:
            raise ValueError(f"compositions: {BASE} is the untrained model, which is always there: take another name")
        if self.standard not in self.compositions:
            raise ValueError(f"standard {self.standard!r} is none of compositions {', '.join(self.compositions)}")
        if len(set(self.seeds)) < len(self.seeds) or self.search.seed in self.seeds:
            raise ValueError(
                f"seeds {self.seeds} with search.seed {self.search.seed}: each seed once, and that of the search apart"
            )
        return self

    def chosen(self, names: Sequence[str] | None, tables: Sequence[str] | None) -> "Recipe":
        """The same with some compositions alone, by name or by table; the standard stays.

        Raises:
            BadInput: there is no such name or table.
        """
        known_tables = dict.fromkeys(one.table for one in self.compositions.values())
        for what, asked, known in (("compositions", names, self.compositions), ("tables", tables, known_tables)):
            unknown = sorted(set(asked or ()) - set(known))
            if unknown:
                raise BadInput(f"there are no {what} {', '.join(unknown)}; there are {', '.join(known)}")
        if names is None and tables is None:
            return self
        kept = {
            name: one
            for name, one in self.compositions.items()
            if name == self.standard or name in (names or ()) or one.table in (tables or ())
        }
        return self.model_copy(update={"compositions": kept})


def read(path: Path, changes: Mapping[str, Any]) -> Recipe:
    """The recipe of a file, with some of its keys changed.

    Raises:
        BadInput: it is missing, no YAML, or says what cannot be; names the key.
    """
    try:
        values = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise BadInput(f"{path} cannot be read as YAML: {error}") from error
    if not isinstance(values, dict):
        raise BadInput(f"{path} is no mapping of keys to values")
    try:
        return Recipe.model_validate(merged(values, changes))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise BadInput(f"{path}: {place + ': ' if place else ''}{first['msg']}") from error


def assignments(texts: Sequence[str]) -> Tree:
    """Settings as a tree, from `block.key=value` each.

    Raises:
        BadInput: a text is not of this form.
    """
    tree: Tree = {}
    for text in texts:
        name, equals, value = text.partition("=")
        keys = name.split(".")
        if not equals or len(keys) < 2 or not all(keys):
            raise BadInput(f"{text!r} sets nothing: write block.key=value, train.groups_per_step=8 for example")
        try:
            change: Any = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise BadInput(f"{text!r}: {value!r} is no YAML value; put it in quotes") from error
        for key in reversed(keys):
            change = {key: change}
        tree = merged(tree, change)
    return tree
