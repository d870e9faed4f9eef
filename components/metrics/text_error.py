"""How much of the HR's text is read otherwise in a restoration: PP-OCRv4, by the package `rapidocr-onnxruntime`.

Text is found and read in the HR. What was read there with confidence is read again at the same place of the
candidate, and the character error rate is the edits from one to the other (Levenshtein) over the HR's characters. A
model that invents letters has a high one, however sharp they are.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from components.artifacts.images import to_8bit
from components.metrics.base import Context, check_inputs, digest_of, need
from components.metrics.table import MetricInfo
from components.storage.digests import of_file, of_pixels

_REVISION = 1
_CONFIDENCE, _CHARACTERS = 0.9, 3
"""Least of a line that counts: the recogniser's own mean confidence, and letters and digits read."""
_MODELS = ("ch_PP-OCRv4_det_infer.onnx", "ch_PP-OCRv4_rec_infer.onnx")

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Line:
    """Text read in an HR: its corners `[4, 2]`, px, and its characters without spaces."""

    corners: NDArray[np.float32]
    text: str


@dataclass(frozen=True)
class Lines(Context):
    """The HR's text."""

    lines: tuple[Line, ...] = ()


class Reader:
    """Finds and reads text in 8-bit images `[H, W, 3]`, on one thread, so that the same pixels give the same text."""

    def __init__(self) -> None:
        from rapidocr_onnxruntime import RapidOCR  # noqa: PLC0415  # an extra

        self._engine: Any = RapidOCR(intra_op_num_threads=1, inter_op_num_threads=1)

    def lines(self, image: Image) -> tuple[Line, ...]:
        """Lines that are read with confidence."""
        found, _ = self._engine.text_det(_bgr(image))
        corners = [] if found is None else [np.asarray(one, dtype=np.float32) for one in found]
        read = [(one, *self._read(image, one)) for one in corners]
        return tuple(
            Line(one, text)
            for one, text, confidence in read
            if confidence >= _CONFIDENCE and sum(map(str.isalnum, text)) >= _CHARACTERS
        )

    def read(self, image: Image, line: Line) -> str:
        """What stands at the place of `line`."""
        return self._read(image, line.corners)[0]

    def _read(self, image: Image, corners: NDArray[np.float32]) -> tuple[str, float]:
        # One line a call: those of a batch are padded to the longest, which changes what is read.
        crops = self._engine.get_crop_img_list(_bgr(image), [corners.copy()])
        ((text, confidence, *_),), _ = self._engine.text_rec(crops, False)
        return "".join(text.split()), float(confidence)


def _bgr(image: Image) -> Image:
    return np.ascontiguousarray(image[:, :, ::-1])


def edits(one: str, other: str) -> int:
    """Levenshtein distance: fewest characters to insert, delete or replace."""
    before = list(range(len(other) + 1))
    for row, left in enumerate(one, 1):
        now = [row]
        for column, right in enumerate(other, 1):
            now.append(min(before[column] + 1, now[-1] + 1, before[column - 1] + (left != right)))
        before = now
    return before[-1]


class TextError:
    """Edits over characters: 0 where all is read as in the HR, 1 where nothing is; NaN where the HR has no text."""

    def __init__(self, row: MetricInfo, device: torch.device, folder: Path) -> None:
        self.info = row
        self.device = device
        self.digest = digest(row, folder)
        self._reader = _reader()
        self._lines: dict[str, tuple[Line, ...]] = {}

    def prepare(self, hr: torch.Tensor | None, lr: torch.Tensor | None) -> Lines:
        """See `Metric.prepare`; reads the HR."""
        image = need(self.info, hr, "HR image").cpu()
        check_inputs(self.info, image, None)
        pixels = to_8bit(image)[0]
        known = of_pixels(pixels)
        if known not in self._lines:  # several models restore one LR, and finding text takes a second
            self._lines[known] = self._reader.lines(pixels)
        return Lines(image, None, (), self._lines[known])

    def __call__(self, candidates: torch.Tensor, context: Context) -> torch.Tensor:
        """See `Metric.__call__`."""
        check_inputs(self.info, candidates, context.hr)
        lines = context.lines if isinstance(context, Lines) else ()
        return torch.tensor([self._error(image, lines) for image in to_8bit(candidates)], dtype=torch.float32)

    def _error(self, image: Image, lines: tuple[Line, ...]) -> float:
        characters = sum(len(line.text) for line in lines)
        if not characters:
            return float("nan")
        return sum(edits(line.text, self._reader.read(image, line)) for line in lines) / characters


_reader: Callable[[], Reader] = cache(Reader)


def digest(row: MetricInfo, folder: Path) -> str:
    """What `build` gives its metric as digest, see `base.digest`: with the networks, which lie in the package."""
    return digest_of(row, folder, _REVISION, *(of_file(path) for path in networks()))


def networks() -> list[Path]:
    """The detector's and the recogniser's weights."""
    spec = find_spec("rapidocr_onnxruntime")  # its import takes a second
    assert spec is not None
    assert spec.origin is not None
    return [Path(spec.origin).parent / "models" / name for name in _MODELS]


def build(row: MetricInfo, device: torch.device, folder: Path) -> TextError:
    """The adapter of `row`, see `base.load`."""
    return TextError(row, device, folder)
