"""Close-ups of the test images that a rule chooses, at a place that a rule chooses, in whole pixels. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Plane = NDArray[np.float64]

SIDE, ZOOM = 48, 3
"""Side of a close-up, px of the restoration, and how often each pixel is repeated in both directions."""
RULE = (
    "A rule chooses them, not a person: the image with the largest gain in reward, the median, the largest loss, and "
    "the one where the held-out metrics contradict the reward most. The square is the one in which base and aligned "
    "differ most, of the first seed. No pixel is interpolated."
)


@dataclass(frozen=True)
class Case:
    """A test image and why it is shown."""

    lr_id: str
    why: str


@dataclass(frozen=True)
class Closeup:
    """Squares of one image, all of the same place, each enlarged `ZOOM` times; the LR's as often as its scale asks.

    Attributes:
        source: name of the photo.
        detail: what reward and judges say.
        place: left and upper edge in the restoration, px.
        squares: by version, `[SIDE * ZOOM, SIDE * ZOOM, 3]`.
    """

    why: str
    source: str
    detail: str
    place: tuple[int, int]
    squares: dict[str, Picture]


def cases(gains: Mapping[str, float], judged: Mapping[str, float]) -> list[Case]:
    """The images that are shown, each once, with all that it is.

    Args:
        gains: reward of aligned less base by lr_id, in deviations of the base.
        judged: the same by the held-out metrics, their mean; without those that have no value. Empty where none is
            held out.
    """
    ordered = sorted(gains, key=lambda name: (-gains[name], name))
    chosen = [(ordered[0], "largest gain"), (ordered[len(ordered) // 2], "median"), (ordered[-1], "largest loss")]
    if gains[ordered[-1]] >= 0.0:
        chosen[-1] = (ordered[-1], "smallest gain")
    both = sorted(gains.keys() & judged.keys())
    if both:
        chosen.append((max(both, key=lambda name: gains[name] - judged[name]), "judges contradict the reward most"))
    why: dict[str, list[str]] = {}
    for lr_id, reason in chosen:
        why.setdefault(lr_id, []).append(reason)
    return [Case(lr_id, ", ".join(reasons)) for lr_id, reasons in why.items()]


def gains_of(rows: Sequence[Mapping[str, object]], measure: str, unit: float) -> dict[str, float]:
    """Mean of a measure under the aligned model less the base's, by lr_id, in `unit`s.

    Args:
        rows: of reports/evaluation.parquet. An image is left out where one model lacks a value.
        unit: deviation of the base's restorations; negative where lower is better.
    """
    collected: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        value = row[measure]
        if value is not None and row["model"] in ("base", "aligned"):
            collected.setdefault((str(row["lr_id"]), str(row["model"])), []).append(float(str(value)))
    means = {key: sum(values) / len(values) for key, values in collected.items()}
    both = sorted(lr_id for lr_id, model in means if model == "base" and (lr_id, "aligned") in means)
    return {lr_id: (means[lr_id, "aligned"] - means[lr_id, "base"]) / unit for lr_id in both if unit}


def mean_over(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean over those that have a value, by name."""
    names = sorted({name for part in parts for name in part})
    return {name: float(np.mean([part[name] for part in parts if name in part])) for name in names}


def square(base: Picture, aligned: Picture, scale: int) -> tuple[int, int, int]:
    """Left and upper edge and side, px, of the square in which two pictures `[H, W, 3]` differ most.

    All are multiples of `scale`, so that whole pixels of the LR lie in it.
    """
    difference: Plane = np.abs(base.astype(np.float64) - aligned.astype(np.float64)).sum(axis=-1)
    height, width = difference.shape
    side = max(scale, min(SIDE, height, width) // scale * scale)
    sums = np.zeros((height + 1, width + 1))
    sums[1:, 1:] = difference.cumsum(0).cumsum(1)
    inside = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    coarse = inside[::scale, ::scale]
    y, x = np.unravel_index(int(coarse.argmax()), coarse.shape)
    return int(x) * scale, int(y) * scale, side


def repeated(picture: Picture, times: int) -> Picture:
    """Each pixel of `[H, W, 3]`, `times` × `times`."""
    return picture.repeat(times, axis=0).repeat(times, axis=1)


def cut(picture: Picture, place: tuple[int, int, int], shrunk: int = 1) -> Picture:
    """The square of a picture, enlarged; of the LR, with `shrunk` its scale."""
    x, y, side = (length // shrunk for length in place)
    return repeated(picture[y : y + side, x : x + side], ZOOM * shrunk)
