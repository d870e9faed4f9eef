"""Pictures inside the page, as data URIs."""

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

LOSSLESS_UP_TO = 192
"""Images up to this side, px, are kept lossless: artefacts of compression would look like the model's."""

QUALITY = 88


def data_uri(image: NDArray[np.uint8], longest: int | None = None) -> str:
    """An 8-bit image `[H, W, 3]` as a WebP data URI; reduced first where a side exceeds `longest` px."""
    picture = Image.fromarray(image)
    lossless = max(picture.size) <= min(LOSSLESS_UP_TO, longest or LOSSLESS_UP_TO)
    if longest is not None and max(picture.size) > longest:
        factor = longest / max(picture.size)
        size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", lossless=lossless, quality=QUALITY, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def heat(levels: NDArray[np.uint8], brightest: int) -> NDArray[np.uint8]:
    """A picture of deviations `[H, W, 3]`, grey, in false colours: black is 0, and white `brightest` and more."""
    from matplotlib import colormaps  # noqa: PLC0415  # half a second

    share = np.minimum(levels[..., 0].astype(np.float64) / max(brightest, 1), 1.0)
    coloured: NDArray[np.uint8] = np.rint(colormaps["inferno"](share)[..., :3] * 255).astype(np.uint8)
    return coloured


def enlarged(lr: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """LR `[h, w, 3]` enlarged by bicubic interpolation: what a viewer without a model would show."""
    return np.asarray(Image.fromarray(lr).resize((width, height), Image.Resampling.BICUBIC))
