import struct

import numpy as np
import pytest
import torch

from components.backbones.restorers.ncnn import FP16_TAG, NcnnNetwork, read_param
from components.errors import BadInput

PARAM = """7767517
6 7
Input        input  0 1 data
Split        split  1 2 data a b
Convolution  conv   1 1 a c 0=4 1=1 4=0 5=1 6=4 9=2 -23310=1,5.000000e-01
PixelShuffle shuffle 1 1 c d 0=2
Interp       up     1 1 b e 0=1 1=2.000000e+00 2=2.000000e+00
BinaryOp     add    2 1 d e output
"""


def weights(kernel: list[float], bias: list[float]) -> bytes:
    return struct.pack("<I", FP16_TAG) + np.array(kernel, "<f2").tobytes() + np.array(bias, "<f4").tobytes()


def network(content: bytes, param: str = PARAM) -> NcnnNetwork:
    return NcnnNetwork(read_param(param, "made.param"), content, "made.bin")


def test_a_network_by_hand() -> None:
    # One pixel x = 3: convolution gives (3, -6, 1.5, -3) + (1, 0, 0, 0), leaky ReLU (4, -3, 1.5, -1.5), shuffled to a
    # 2x2 block, plus the pixel itself enlarged.
    made = network(weights([1.0, -2.0, 0.5, -1.0], [1.0, 0.0, 0.0, 0.0]))
    result = made(torch.full((1, 1, 1, 1), 3.0))
    torch.testing.assert_close(result, torch.tensor([[[[7.0, 0.0], [4.5, 1.5]]]]))


def test_fp16_kernels_are_padded_to_four_bytes_and_prelu_slopes_are_plain() -> None:
    param = """7767517
3 3
Input        input 0 1 data
Convolution  conv  1 1 data c 0=1 1=1 5=1 6=1
PReLU        prelu 1 1 c output 0=1
"""
    content = struct.pack("<I", FP16_TAG) + np.array([2.0, 0.0], "<f2").tobytes() + struct.pack("<ff", -10.0, 0.25)
    result = network(content, param)(torch.tensor([1.0, 6.0]).view(1, 1, 1, 2))
    assert result.flatten().tolist() == [-2.0, 2.0]


def test_weighted_sum_and_concatenation() -> None:
    param = """7767517
4 6
Input   input 0 1 data
Split   split 1 2 data a b
Eltwise sum   2 1 a b c 0=1 -23301=2,2.000000e-01,1.000000e+00
Concat  cat   1 1 c output 0=0
"""
    result = network(b"", param)(torch.ones(1, 2, 1, 1))
    assert result.flatten().tolist() == pytest.approx([1.2, 1.2])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (weights([1.0] * 4, [0.0] * 4) + b"\0", "1 bytes are left over"),
        (weights([1.0] * 4, [0.0] * 3), "cut short"),
        (b"\1" + weights([1.0] * 4, [0.0] * 4)[1:], "tag 0x01306b01"),
    ],
)
def test_weights_that_do_not_fit_are_refused(content: bytes, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        network(content)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("7767517", "7767518", "not an ncnn .param"),
        ("6 7", "7 7", "announces 7 layers and has 6"),
        ("PixelShuffle", "Deconvolution", "Deconvolution .* not known"),
        ("0=1 1=2.000000e+00", "0=2 1=2.000000e+00", "settings this reader does not know"),
        ("6=4 9=2", "6=4 3=2 9=2", "settings this reader does not know"),
    ],
)
def test_other_layers_and_settings_are_refused(old: str, new: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        network(weights([1.0] * 4, [0.0] * 4), PARAM.replace(old, new, 1))
