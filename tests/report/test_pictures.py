import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage import data

from components.report.pictures import data_uri, enlarged


def decoded(uri: str) -> NDArray[np.uint8]:
    head, _, content = uri.partition(",")
    assert head == "data:image/webp;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB"))


def test_small_pictures_keep_every_pixel() -> None:
    photo = data.chelsea()[:128, :128]
    np.testing.assert_array_equal(decoded(data_uri(photo, 512)), photo)


def test_large_pictures_are_reduced_and_compressed_and_keep_their_shape() -> None:
    photo = data.astronaut()
    assert decoded(data_uri(photo, 192)).shape == (192, 192, 3)
    assert decoded(data_uri(photo[:256], 192)).shape == (96, 192, 3)
    # 4 groups of 18 pictures and 12 sliders of 6, all of 512 px, must fit a page of 8 MB.
    assert 4 * 18 * len(data_uri(photo, 192)) + 12 * 6 * len(data_uri(photo, 512)) < 8_000_000


def test_an_lr_is_enlarged_to_the_size_asked_for() -> None:
    flat = np.full((8, 12, 3), 77, np.uint8)
    np.testing.assert_array_equal(enlarged(flat, 32, 48), np.full((32, 48, 3), 77, np.uint8))
