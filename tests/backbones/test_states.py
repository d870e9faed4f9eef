"""State dicts that fit, and what is named where they do not."""

import torch

from components.backbones.states import misfits


def test_misfits_are_missing_unexpected_or_of_another_shape() -> None:
    expected = {"kept": torch.zeros(2), "missing": torch.zeros(1), "wider": torch.zeros(2, 3)}
    state = {"kept": torch.ones(2), "unexpected": torch.zeros(1), "wider": torch.zeros(2, 4)}
    assert misfits(state, expected) == ["missing", "unexpected", "wider"]
    assert misfits(expected, expected) == []
