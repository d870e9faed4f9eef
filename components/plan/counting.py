"""FLOP and peak memory of a piece of torch code from shapes alone: it runs on the meta device, which computes nothing.

Attention is run as the fused kernel that a GPU would take: torch's own choice on the meta device is the unfused one,
which keeps every score. Casts of mixed precision are made as CUDA's autocast makes them, since torch has none there.
"""

import weakref
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from functools import cache, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import flop_registry

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
    counter = _Counted()
    with _Fused(autocast), counter:
        run()
    return counter.flop


def peak_bytes(run: Callable[[], object], modules: Iterable[nn.Module], autocast: torch.dtype | None = None) -> int:
    """Most memory that tensors made in `run` have at any one time; weights and gradients of `modules` are not counted.

    Arguments are as for `flop`.
    """
    weights = [tensor for module in modules for tensor in [*module.parameters(), *module.buffers()]]
    for weight in weights:
        if weight.requires_grad:
            # There from the first step on; what a pass allocates is then activations alone.
            weight.grad = torch.empty_like(weight)
    live = LiveBytes([*weights, *(weight.grad for weight in weights if weight.grad is not None)])
    with _Fused(autocast), _Repeated(), live:  # type: ignore[no-untyped-call]
        run()
    return live.peak


def recomputing(autocast: torch.dtype | None = None) -> Callable[..., Any]:
    """For `enable_gradient_checkpointing` of a module whose backward pass is run here, with the same `autocast`.

    torch takes its function modes off during a backward pass, so the recomputed blocks enter theirs anew.
    """
    return partial(checkpoint, use_reentrant=False, context_fn=lambda: (nullcontext(), _Fused(autocast)))


Made = tuple[torch.Size, tuple[int, ...], torch.dtype]
"""Shape, stride and dtype of a new tensor."""


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


class _Repeated(TorchDispatchMode):
    """Answers an operation on the same shapes from memory: torch's meta kernels are Python, a millisecond each.

    A transformer's blocks are all alike, and each pass is run several times.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not _makes_new(func):
            return func(*args, **kwargs)
        key = (func, _described(args), _described(tuple(kwargs.items())))
        if (known := _RESULTS.get(key)) is not None:
            made = tuple(torch.empty_strided(shape, stride, dtype=dtype, device=META) for shape, stride, dtype in known)
            return made[0] if len(made) == 1 else made
        result = func(*args, **kwargs)
        if (seen := _result(result, args, kwargs)) is not None:
            _RESULTS[key] = seen
        return result


class _Counted(_Repeated):
    """Adds up operations by torch's own formulas; `FlopCounterMode` also tells modules apart, at twice the time."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flop = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = super().__torch_dispatch__(func, types, args, kwargs)
        if (formula := flop_registry.get(func._overloadpacket)) is not None:
            self.flop += int(formula(*args, **(kwargs or {}), out_val=result))
        return result


_RESULTS: dict[Any, tuple[Made, ...]] = {}
"""What an operation made of arguments like these."""


@cache
def _makes_new(func: Any) -> bool:
    """Whether `func` changes none of its arguments and returns none, as far as it says so."""
    schema = func._schema
    return not schema.is_mutable and all(returned.alias_info is None for returned in schema.returns)


def _described(value: Any) -> Any:
    """What of an argument decides the result's shape, to look it up by."""
    if isinstance(value, Tensor):
        return value.shape, value.stride(), value.dtype, value.device
    if isinstance(value, list | tuple):
        return tuple(map(_described, value))
    return type(value), value  # 1, 1.0 and True are equal, and make different types


def _result(result: Any, args: Any, kwargs: Any) -> tuple[Made, ...] | None:
    """What to remember of `result`; None unless it is a new meta tensor, or a tuple of several."""
    made = (result,) if isinstance(result, Tensor) else result
    if not isinstance(made, tuple) or (len(made) == 1 and made is result):
        return None
    # Some views, like _unsafe_view, do not say that they are.
    given = {tensor.untyped_storage()._cdata for tensor in tree_leaves((args, kwargs)) if isinstance(tensor, Tensor)}
    for tensor in made:
        if not isinstance(tensor, Tensor) or tensor.device != META or tensor.untyped_storage()._cdata in given:
            return None
    return tuple((tensor.shape, tensor.stride(), tensor.dtype) for tensor in made)


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
