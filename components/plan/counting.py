"""FLOP and peak memory of a piece of torch code from shapes alone: it runs on the meta device, which computes nothing.

Attention is run as the fused kernel that a GPU would take: torch's own choice on the meta device is the unfused one,
which keeps every score. Casts of mixed precision are made as CUDA's autocast makes them, since torch has none there.
"""

import weakref
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

META = torch.device("meta")

LOWERED = frozenset({F.linear, F.conv2d, F.scaled_dot_product_attention, torch.matmul, torch.bmm, torch.baddbmm})
RAISED = frozenset({F.group_norm, F.layer_norm, F.softmax, F.mse_loss, Tensor.softmax, Tensor.pow, torch.pow})
"""What CUDA's autocast runs in the lower precision and what in float32, as far as these networks call it."""


def flop(run: Callable[[], object], autocast: torch.dtype | None = None) -> int:
    """Operations of `run`'s matrix products, convolutions and attention, a multiply-add counted as two.

    Args:
        run: calls networks on the meta device.
        autocast: the lower precision of mixed precision; None for the tensors' own.
    """
    counter = FlopCounterMode(display=False)
    with _Fused(autocast), counter:
        run()
    return int(counter.get_total_flops())


def peak_bytes(run: Callable[[], object], modules: Iterable[nn.Module], autocast: torch.dtype | None = None) -> int:
    """Most memory that tensors made in `run` have at any one time; weights and gradients of `modules` are not counted.

    Arguments are as for `flop`. Not measured together with it: torch's counter follows modules by hooks, which keep
    alive what gradient checkpointing lets go.
    """
    weights = [tensor for module in modules for tensor in [*module.parameters(), *module.buffers()]]
    for weight in weights:
        if weight.requires_grad:
            # There from the first step on; what a pass allocates is then activations alone.
            weight.grad = torch.empty_like(weight)
    live = LiveBytes([*weights, *(weight.grad for weight in weights if weight.grad is not None)])
    with _Fused(autocast), live:
        run()
    return live.peak


def recomputing(autocast: torch.dtype | None = None) -> Callable[..., Any]:
    """For `enable_gradient_checkpointing` of a module whose backward pass is run here, with the same `autocast`.

    torch takes its function modes off during a backward pass, so the recomputed blocks enter theirs anew.
    """
    return partial(checkpoint, use_reentrant=False, context_fn=lambda: (nullcontext(), _Fused(autocast)))


class LiveBytes(TorchDispatchMode):
    """Bytes of all storages made within that are still referred to, and their peak; those of `known` do not count."""

    def __init__(self, known: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._known = [tensor.untyped_storage() for tensor in known]
        self._keys = {storage._cdata for storage in self._known}
        self.now = 0
        self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        self.peak = max(self.peak, self.now)
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage._cdata in self._keys:
            return
        self._keys.add(storage._cdata)
        self.now += storage.nbytes()
        weakref.finalize(storage, self._free, storage._cdata, storage.nbytes())

    def _free(self, key: int, size: int) -> None:
        self._keys.discard(key)
        self.now -= size


class _Fused(TorchFunctionMode):
    """Fused attention, and the casts of CUDA's autocast where a precision is given."""

    def __init__(self, autocast: torch.dtype | None) -> None:
        super().__init__()
        self._lower = autocast

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self._lower is not None and (func in LOWERED or func in RAISED):
            to = self._lower if func in LOWERED else torch.float32
            args, kwargs = tree_map_only(Tensor, lambda tensor: _cast(tensor, to), (args, kwargs))
        if func is F.scaled_dot_product_attention and kwargs.get("attn_mask") is None and len(args) <= 3:
            tensors = [*args, *(kwargs[name] for name in ("query", "key", "value") if name in kwargs)]
            return torch.ops.aten._scaled_dot_product_flash_attention(*tensors)[0]
        return func(*args, **kwargs)


def _cast(tensor: Tensor, to: torch.dtype) -> Tensor:
    return tensor.to(to) if tensor.is_floating_point() else tensor
