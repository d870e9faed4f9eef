"""The table of families: complete, and its names lead to code."""

import inspect
from typing import Any, get_args

import pytest

from components.settings import KnownSettings
from components.settings.backbone import FamilyBlock
from components.settings.families import FAMILIES, Family


def test_every_family_of_the_settings_has_a_row() -> None:
    kinds = get_args(KnownSettings)
    named = {kind.model_fields["family"].annotation.__args__[0] for kind in kinds}
    assert set(FAMILIES) == named
    assert all(issubclass(kind, FamilyBlock) for kind in kinds)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_a_rows_names_are_functions_of_the_right_arguments(family: Family) -> None:
    def arguments(function: Any) -> list[str]:
        return list(inspect.signature(function).parameters)

    assert arguments(family.load.function) == ["folder", "settings", "device"]
    assert arguments(family.measure.function) == ["settings", "root", "shape"]
    if family.digests is not None:
        assert arguments(family.digests.function) == ["settings"]
