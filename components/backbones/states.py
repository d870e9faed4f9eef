"""State dicts against the networks they are meant for."""

from collections.abc import Mapping

from torch import Tensor


def misfits(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
    """Names, sorted, that only one of the two has, or whose shapes differ."""
    return sorted(
        name
        for name in state.keys() | expected.keys()
        if name not in state or name not in expected or state[name].shape != expected[name].shape
    )
