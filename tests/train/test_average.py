import pytest
import torch
from torch import nn

from components.train.average import Average
from components.train.limits import within


def weight(value: float) -> nn.Linear:
    layer = nn.Linear(1, 1, bias=False)
    nn.init.constant_(layer.weight, value)
    return layer


def test_the_average_by_hand() -> None:
    """From 1: after steps 1 and 2 with weights 2 and 4 and early decays 1/10 and 2/11."""
    layer = weight(1.0)
    average = Average(layer, 0.9)
    nn.init.constant_(layer.weight, 2.0)
    average.update(layer, 1)
    nn.init.constant_(layer.weight, 4.0)
    average.update(layer, 2)
    first = 0.1 * 1.0 + 0.9 * 2.0
    assert average.state()["weight"].item() == pytest.approx(2 / 11 * first + 9 / 11 * 4.0)


def test_the_policy_has_the_average_for_a_while_and_its_own_weights_again() -> None:
    layer = weight(1.0)
    average = Average(layer, 0.9)
    nn.init.constant_(layer.weight, 3.0)
    with average.in_place(layer):
        assert layer.weight.item() == 1.0
    assert layer.weight.item() == 3.0


def test_without_a_decay_there_is_no_average() -> None:
    layer = weight(1.0)
    average = Average(layer, 0.0)
    nn.init.constant_(layer.weight, 3.0)
    average.update(layer, 1)
    with average.in_place(layer):
        assert layer.weight.item() == 3.0
    assert average.state() == {}


def test_a_checkpoint_continues_the_average() -> None:
    layer = weight(1.0)
    average, again = Average(layer, 0.9), Average(weight(7.0), 0.9)
    again.load(average.state())
    assert torch.equal(again.state()["weight"], average.state()["weight"])


@pytest.mark.parametrize(
    ("row", "allowed"),
    [
        ({"psnr": 24.8, "grid": 8.4}, True),
        ({"psnr": 24.6, "grid": 8.4}, False),  # fell by .4
        ({"psnr": 30.0, "grid": 8.6}, False),  # rose by .6
        ({"psnr": 30.0, "grid": 1.0}, True),  # better in both
        ({"grid": 8.4}, True),  # an image without HR has no PSNR to be held to
    ],
)
def test_limits(row: dict[str, float], allowed: bool) -> None:
    assert within(row, {"psnr": 25.0, "grid": 8.0}, {"psnr": 0.3, "grid": 0.5}) is allowed
