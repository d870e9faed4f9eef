import numpy as np
import torch

from components.artifacts.images import to_8bit, to_tensor


def test_every_grey_level_survives_the_round_trip() -> None:
    image = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    tensor = to_tensor(image, 255 - image)
    assert tensor.shape == (2, 3, 16, 16)
    assert tensor.dtype == torch.float32
    assert (float(tensor.min()), float(tensor.max())) == (0.0, 1.0)
    back = to_8bit(tensor)
    assert np.array_equal(back[0], image)
    assert np.array_equal(back[1], 255 - image)


def test_rounds_to_nearest_and_clamps() -> None:
    values = torch.tensor([-1.0, 0.4 / 255, 0.6 / 255, 254.6 / 255, 7.0]).view(1, 1, 1, 5).expand(1, 3, 1, 5)
    assert to_8bit(values)[0, 0, :, 0].tolist() == [0, 0, 1, 255, 255]


def test_channels_go_last() -> None:
    red = torch.zeros(1, 3, 2, 2)
    red[:, 0] = 1.0
    assert to_8bit(red)[0, 0, 0].tolist() == [255, 0, 0]
    assert torch.equal(to_tensor(to_8bit(red)[0]), red)
