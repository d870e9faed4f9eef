"""What a request to the served model may ask for, and its pictures: checked before the network works on any of them.

Pictures are decoded by the same children as everywhere: in this process a decoder that is filled, or taken over, would
take the model, the GPU and the registry's password with it.

MLflow's server has read a whole body, and made a table of it, before it calls the model. How long a body may be is said
in front of it: by `limited` in `dp2o serve`, elsewhere by a proxy (docs/serving.md).
"""

import base64
import binascii
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, REQUEST_LIMIT_EXCEEDED
from numpy.typing import NDArray

from components.errors import BadInput
from components.photos.limits import Limits
from components.photos.reader import PhotoReader
from components.serving.limits import ServingLimits
from components.upscale.picture import decode_picture

EXPECTED = (
    "send column `image`: base64, without line breaks, of a JPEG, PNG, WebP, TIFF, HEIC, AVIF or JPEG XL file's bytes"
)


class Requests:
    """Lets requests in, and reads their pictures; threads share it."""

    def __init__(self, limits: ServingLimits) -> None:
        self.limits = limits
        self._reader = PhotoReader(
            Limits(limits.max_pixels, limits.max_bytes, limits.seconds_a_picture), limits.concurrency
        )
        self._places = threading.BoundedSemaphore(limits.concurrency + limits.waiting)
        self._working = threading.BoundedSemaphore(limits.concurrency)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """A request's turn.

        Raises:
            MlflowException: as many as may are waiting already (REQUEST_LIMIT_EXCEEDED, 429).
        """
        if not self._places.acquire(blocking=False):
            raise MlflowException(
                f"{self.limits.waiting} requests are waiting already: ask again later", REQUEST_LIMIT_EXCEEDED
            )
        try:
            with self._working:
                yield
        finally:
            self._places.release()

    def pictures(self, images: Sequence[Any]) -> list[NDArray[np.uint8]]:
        """8-bit RGB `[H, W, 3]` of all rows' `image`.

        Raises:
            MlflowException: a row cannot be used, or all ask for too much (INVALID_PARAMETER_VALUE, 400).
        """
        limits = self.limits
        if len(images) > limits.max_rows:
            raise refusal(f"{len(images)} rows are more than max_rows {limits.max_rows}: send them in several requests")
        characters = sum(len(image) for image in images if isinstance(image, str))
        if characters * 3 // 4 > limits.max_bytes:
            raise refusal(f"{characters * 3 // 4} bytes of pictures are more than max_bytes {limits.max_bytes}")
        pictures, pixels = [], 0
        for row, image in enumerate(images):
            picture = self._picture(row, image)
            pixels += picture.shape[0] * picture.shape[1]
            if pixels > limits.max_pixels:
                raise refusal(
                    f"the pictures up to row {row} have {pixels} px together, more than max_pixels "
                    f"{limits.max_pixels}: send them in several requests"
                )
            pictures.append(picture)
        return pictures

    def _picture(self, row: int, image: Any) -> NDArray[np.uint8]:
        name = f"image of row {row}"
        try:
            content = base64.b64decode(_ascii(image), validate=True)
        except (TypeError, binascii.Error) as error:
            raise refusal(f"{name} is not base64 ({error}): {EXPECTED}") from error
        try:
            return decode_picture(self._reader, content, name, "load the model with a larger max_pixels")
        except BadInput as error:
            raise refusal(f"{error}; {EXPECTED}") from error


def refusal(message: str) -> MlflowException:
    """The error for whoever sent what cannot be used: a server answers 400."""
    return MlflowException(message, INVALID_PARAMETER_VALUE)


def _ascii(image: Any) -> bytes:
    if not isinstance(image, str):
        raise TypeError(f"{type(image).__name__} instead of text")
    if not image.isascii():
        raise TypeError("not ASCII")
    return image.encode()
