import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.plan.counting import META, flop, peak_bytes, recomputing

UNIT = 10_000 * 64 * 4


def empty(*shape: int, grad: bool = False) -> Tensor:
    return torch.empty(shape, device=META, requires_grad=grad)


class Block(nn.Module):
    """Ten layers, each of which keeps its input for the backward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(*[nn.Sequential(nn.Linear(64, 64), nn.GELU()) for _ in range(10)])

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden + self.layers(hidden)


def test_a_multiply_add_is_two_operations() -> None:
    linear = nn.Linear(7, 5, device=META)
    assert flop(lambda: linear(empty(3, 7))) == 2 * 3 * 7 * 5
    conv = nn.Conv2d(4, 6, 3, padding=1, device=META)
    assert flop(lambda: conv(empty(1, 4, 8, 8))) == 2 * 6 * 4 * 9 * 64


def test_attention_counts_and_keeps_no_scores() -> None:
    batch, heads, queries, keys, width = 2, 3, 32, 2048, 16
    query = empty(batch, heads, queries, width, grad=True)
    key = empty(batch, heads, keys, width, grad=True)
    products = 2 * 2 * batch * heads * queries * keys * width
    with torch.no_grad():
        assert flop(lambda: F.scaled_dot_product_attention(query, key, key)) == products
    # the fused backward pass computes the scores again: five products
    whole = flop(lambda: torch.autograd.backward(F.scaled_dot_product_attention(query, key, key).sum()))
    assert whole == products * 7 // 2
    scores = batch * heads * queries * keys * 4
    with torch.no_grad():
        assert peak_bytes(lambda: F.scaled_dot_product_attention(query, key, key), []) < scores


def test_masked_attention_counts_too() -> None:
    query, mask = empty(1, 2, 8, 16), torch.empty(8, 8, device=META, dtype=torch.bool)
    assert flop(lambda: F.scaled_dot_product_attention(query, query, query, attn_mask=mask)) == 2 * 2 * 2 * 8 * 8 * 16


def test_a_repeated_operation_makes_what_it_would_have_made() -> None:
    """Results are remembered; what differs in scalar type, strides or storage is no repetition."""
    whole = torch.ones(2, 3, 4, device=META, dtype=torch.int64)
    seen: list[Tensor] = []

    def run() -> None:
        seen.extend([whole * 2, whole * 2.0, whole * True, whole.transpose(0, 2) * 2, whole.view(6, 4)[:, 1]])
        seen.extend([torch.ops.aten._unsafe_view(whole, [6, 4]), *torch.var_mean(whole.float(), dim=0)])

    for _ in range(2):
        flop(run)
    first, again = seen[: len(seen) // 2], seen[len(seen) // 2 :]
    assert [tensor.dtype for tensor in again] == [torch.int64, torch.float32, *[torch.int64] * 4, *[torch.float32] * 2]
    for one, other in zip(first, again, strict=True):
        assert (one.shape, one.stride(), one.dtype) == (other.shape, other.stride(), other.dtype)
    assert again[0] is not first[0]
    shared = [tensor.untyped_storage()._cdata == whole.untyped_storage()._cdata for tensor in again]
    assert shared == [False, False, False, False, True, True, False, False]


def test_peak_is_what_is_alive_at_once() -> None:
    def run() -> Tensor:
        first = empty(1000)
        second = first + 1
        del first
        third = second + 1
        third.add_(1)
        return third.view(10, 100)

    assert peak_bytes(run, []) == 2 * 4000


def test_weights_and_gradients_are_not_in_the_peak() -> None:
    linear = nn.Linear(1000, 1000, device=META)
    image = empty(1, 1000)
    peak = peak_bytes(lambda: torch.autograd.backward(linear(image).sum()), [linear])
    # output, its gradient and sum, and one new gradient of the weight before it is added to what is there
    assert 4_000_000 <= peak < 4_100_000


@pytest.mark.parametrize(("checkpointed", "units"), [(False, 10), (True, 1)])
def test_what_a_block_keeps_for_the_backward_pass(checkpointed: bool, units: int) -> None:
    def peak(count: int) -> int:
        blocks = nn.ModuleList(Block() for _ in range(count)).to(META).requires_grad_(False)
        call = recomputing() if checkpointed else lambda block, hidden: block(hidden)
        start = empty(10_000, 64, grad=True)

        def run() -> None:
            hidden = start
            for block in blocks:
                hidden = call(block, hidden)
            torch.autograd.backward(hidden.mean())

        return peak_bytes(run, [blocks])

    assert peak(6) - peak(3) == 3 * units * UNIT


def test_casts_are_those_of_cudas_autocast() -> None:
    linear, norm = nn.Linear(8, 8, device=META), nn.LayerNorm(8, device=META)
    seen = []

    def run() -> None:
        lowered = linear(empty(2, 8))
        raised = norm(lowered)
        seen.extend([lowered.dtype, raised.dtype, linear(raised).dtype])

    flop(run, torch.bfloat16)
    assert seen == [torch.bfloat16, torch.float32, torch.bfloat16]
    seen.clear()
    flop(run)
    assert seen == [torch.float32] * 3


def test_recomputation_is_cast_as_the_forward_pass() -> None:
    block = Block().to(META)
    checkpointed = recomputing(torch.bfloat16)
    start = empty(4, 64, grad=True)
    forward = flop(lambda: block(start), torch.bfloat16)
    whole = flop(lambda: torch.autograd.backward(block(start).sum()), torch.bfloat16)
    again = flop(lambda: torch.autograd.backward(checkpointed(block, start).sum()), torch.bfloat16)
    # the last layer's product need not be made again: nothing but the sum reads it
    assert whole + 0.8 * forward < again <= whole + forward
