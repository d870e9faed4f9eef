"""Entering a restorer late: what the last blocks alone make of another LR."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from components.backbones.restorers.ncnn import NcnnNetwork
from components.backbones.restorers.restorer import Restorer, load_restorer
from components.backbones.restorers.trunk import Trunk
from tests.made import ncnn_enlarger, ncnn_trunk

CPU = torch.device("cpu")


def pictures(seed: int, rows: int = 1) -> Tensor:
    return torch.rand(rows, 3, 6, 7, generator=torch.manual_seed(seed))


@pytest.fixture
def restorer(tmp_path: Path) -> Restorer:
    return load_restorer(str(ncnn_trunk(tmp_path)), tmp_path, CPU)


@pytest.mark.parametrize("blocks", [0, 1, 2])
def test_the_look_is_the_whole_network_and_the_same_lr_again_changes_nothing(restorer: Restorer, blocks: int) -> None:
    lr = pictures(0)
    seen = restorer.look(lr, blocks)
    assert torch.equal(seen.picture, restorer(lr))
    again = restorer.look_again(lr, seen.features, seen.state, blocks, strength=3.0)
    assert torch.equal(again, seen.picture)


def test_the_last_blocks_see_the_change_by_hand(restorer: Restorer) -> None:
    """h' = h + w (f' - f) enters the last block; the tail gets f'."""
    network, lr, changed = restorer.network, pictures(0), pictures(1)
    assert isinstance(network, NcnnNetwork)
    first, one, two, three, body, last = network._modules_in_order
    f, g = first(lr), first(changed)
    h = f
    for convolution in (one, two):
        h = 0.2 * convolution(h) + h
    h = h + 2.5 * (g - f)
    h = 0.2 * three(h) + h
    expected = last(torch.nn.functional.interpolate(body(h) + g, scale_factor=4.0, mode="nearest"))
    seen = restorer.look(lr, 1)
    found = Trunk(network).again(changed, seen.features, seen.state, 1, 2.5)
    torch.testing.assert_close(found, expected)


def test_a_row_does_not_depend_on_the_others(restorer: Restorer) -> None:
    seen = restorer.look(pictures(0), 2)
    changed = pictures(1, 3)
    rows = [tensor.expand(3, -1, -1, -1) for tensor in (seen.features, seen.state)]
    together = restorer.look_again(changed, *rows, blocks=2, strength=1.0)
    alone = restorer.look_again(changed[2:], seen.features, seen.state, blocks=2, strength=1.0)
    assert torch.equal(together[2:], alone)


def test_blocks_that_can_be_entered_are_counted(tmp_path: Path) -> None:
    assert load_restorer(str(ncnn_trunk(tmp_path, 5)), tmp_path, CPU).blocks == 4
    assert load_restorer(str(ncnn_enlarger(tmp_path)), tmp_path, CPU).blocks == 0
    assert load_restorer("realesrgan-x4plus", tmp_path, CPU).blocks == 22  # of 23 with three dense blocks each
    assert load_restorer("realesr-animevideov3", tmp_path, CPU).blocks == 0  # a chain without sums
    assert Restorer("r", torch.nn.Identity()).blocks == 0
