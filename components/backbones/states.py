"""State dicts: their digest, and whether they fit the networks they are meant for."""

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor


def state_digest(state: Mapping[str, Tensor]) -> str:
    """Hex sha256 of a state dict: names, dtypes, shapes and values, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def mismatched_keys(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
    """Names, sorted, that only one of the two has, or whose shapes differ."""
    return sorted(
        name
        for name in state.keys() | expected.keys()
        if name not in state or name not in expected or state[name].shape != expected[name].shape
    )
