"""State dicts that fit, and what is named where they do not."""

import torch

from components.backbones.states import mismatched_keys, state_digest


def test_misfits_are_missing_unexpected_or_of_another_shape() -> None:
    expected = {"kept": torch.zeros(2), "missing": torch.zeros(1), "wider": torch.zeros(2, 3)}
    state = {"kept": torch.ones(2), "unexpected": torch.zeros(1), "wider": torch.zeros(2, 4)}
    assert mismatched_keys(state, expected) == ["missing", "unexpected", "wider"]
    assert mismatched_keys(expected, expected) == []


def test_state_depends_on_names_types_shapes_and_values_not_on_order() -> None:
    state = {"a": torch.arange(4.0), "b": torch.zeros(2, 3)}
    digest = state_digest(state)
    assert digest == state_digest(dict(reversed(state.items())))
    changed = [
        {**state, "a": torch.arange(4.0).add(1e-6)},
        {**state, "a": torch.arange(4.0).double()},
        {**state, "b": torch.zeros(3, 2)},
        {"a": state["a"], "c": state["b"]},
    ]
    assert digest not in {state_digest(other) for other in changed}
    assert state_digest({"a": torch.arange(6.0).view(2, 3).t()}) == state_digest(
        {"a": torch.tensor([[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]])}
    )
    state_digest({"half": torch.zeros(3, dtype=torch.bfloat16), "scalar": torch.tensor(1)})
