"""Signs of a hacked reward, as numbers of one restoration and its LR. Pure functions of arrays; lower is better in all.

A network that is rewarded by other networks finds what those like and people do not. Each guard here measures one
known escape with arithmetic that no metric of the reward contains, so that it cannot be optimised along with them.

The bounds in params.yaml lie between natural pictures and sabotage. On 12 of the embedded photos, 95th percentiles:

| | colour_shift | grid | border | clipping |
|---|---|---|---|---|
| photos themselves | .65 | 8.4 | 1.2 | 1.3 |
| restored by the embedded model | .54 | 9.3 | 1.3 | 1.2 |
| and 8 grey levels warmer | 6.4 | 9.3 | 1.1 | 7.6 |
| and a grid of period 4, 6 grey levels | 1.2 | 23.7 | 1.3 | 1.3 |
| and contrast times 1.5 | 13.9 | 9.4 | 7.5 | 42.9 |
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.color import rgb2lab

Picture = NDArray[np.uint8]
Plane = NDArray[np.float64]

CELLS = 4
"""Cells a side over which colours are averaged."""
WINDOW = 32
"""Side of the windows whose spectra are averaged, px."""
LOWEST = 0.125
"""Frequencies from here on count as high, cycles a px."""
STRIP = 8
"""A border is this part of a side."""


def colour_shift(restored: Picture, lr: Picture) -> float:
    """Mean CIELAB difference (Delta E*ab) between restoration and LR over the averages of 4 x 4 cells.

    Super-resolution adds detail, not colour: averaged over an area, restoration and LR agree up to the LR's noise.
    NR metrics like warmth and contrast, so a policy is paid for shifting them. Cells rather than one average, because
    warm lights and cool shadows cancel in the latter. About 2.3 is just noticeable (Mahy et al., 1994), and LR noise
    of 10 grey levels leaves less than 1 over a cell of 64 px.
    """
    difference = rgb2lab(_cells(restored)) - rgb2lab(_cells(lr))
    return float(np.sqrt(np.square(difference).sum(axis=-1)).mean())


def grid(restored: Picture, lr: Picture) -> float:
    """How far the highest isolated peak of the luma's high frequencies stands above its surroundings, in dB.

    Strided and transposed convolutions, patches and tiles leave patterns of fixed period, which NR metrics take for
    texture. Spectra are averaged over half-overlapping Hann windows (Welch, 1967): a pattern that fills the picture
    adds up in its bin, while an object's own texture spreads and stays local. A peak is compared with the median
    of the ring around it, which leaves the slope of natural spectra out. The fewer windows, the higher chance peaks
    stand: below 128 px a side the bound must be raised.

    No idle guard: noise of 12 % on the embedded model's weights lifts this from 10 to 25 dB (at 64 px), and PIQE pays
    31 of its 100 points for that pattern while PSNR falls by 0.7 dB.
    """
    spectrum = _spectrum(_luma(restored))
    rows, columns = (np.abs(np.fft.fftfreq(size)) for size in spectrum.shape)
    # The upper half of the frequencies is the mirrored lower one; taking the maximum needs no care of that.
    high = np.maximum(rows[:, None], columns[None, :]) >= LOWEST
    ring = np.ones((7, 7), bool)
    ring[2:5, 2:5] = False  # a Hann window spreads a pure tone over its neighbours
    surroundings = ndimage.median_filter(spectrum, footprint=ring, mode="wrap")
    # 1/12 is the power of rounding to 8 bits: a flat picture has no peak.
    noise = np.square(_window(*spectrum.shape)).sum() / 12.0
    return float(10.0 * np.log10((spectrum + noise) / (surroundings + noise))[high].max())


def border(restored: Picture, lr: Picture) -> float:
    """Worst side's mean distance to the LR along the border less that of the inside, grey levels.

    Padding makes borders the weakest place of a convolutional network, and some metrics never look there (MANIQA keeps
    20 of 25 crops and skips the bottom rows), so damage at one side costs no reward. The distance is that of the
    restoration, area-averaged to LR size, to the LR; a side is its outer eighth.
    """
    distance = np.abs(_reduced(restored, lr.shape[0], lr.shape[1]) - lr.astype(np.float64)).mean(axis=-1)
    height, width = distance.shape
    rows, columns = max(1, height // STRIP), max(1, width // STRIP)
    inside = distance[rows : height - rows, columns : width - columns].mean()
    sides = (distance[:rows], distance[-rows:], distance[:, :columns], distance[:, -columns:])
    return float(max(side.mean() for side in sides) - inside)


def clipping(restored: Picture, lr: Picture) -> float:
    """Share of channel values at 0 or 255 in the restoration less that share in its LR, percent.

    Contrast and sharpness are rewarded until values clip, where detail is lost for good. What the LR has clipped
    itself (a sky, a light) is no fault of the restoration's.
    """
    return float(100.0 * (_clipped(restored) - _clipped(lr)))


GUARDS: dict[str, Callable[[Picture, Picture], float]] = {
    "colour_shift": colour_shift,
    "grid": grid,
    "border": border,
    "clipping": clipping,
}
"""All guards by name: functions of a restoration `[H, W, 3]` and its LR `[h, w, 3]`, both 8-bit."""


def measure_guards(restored: Picture, lr: Picture) -> dict[str, float]:
    """All guards of one restoration."""
    return {name: guard(restored, lr) for name, guard in GUARDS.items()}


def diversity(restorations: list[Picture]) -> float:
    """Mean over pixels and channels of the standard deviation over seeds, grey levels; NaN for fewer than two."""
    if len(restorations) < 2:
        return float("nan")
    return float(deviation_map(restorations).mean())


def deviation_map(restorations: list[Picture]) -> Plane:
    """Where restorations of one LR disagree: standard deviation over seeds, mean over channels, grey levels `[H, W]`.

    What the LR determines is the same under every seed. What differs was made up.
    """
    deviations: Plane = np.stack(restorations).astype(np.float64).std(axis=0).mean(axis=-1)
    return deviations


def _cells(picture: Picture) -> Plane:
    return _reduced(picture, CELLS, CELLS) / 255.0


def _reduced(picture: Picture, rows: int, columns: int) -> Plane:
    """Averages over `rows` x `columns` areas of equal size, up to one px."""
    tops = np.linspace(0, picture.shape[0], rows + 1).astype(int)
    lefts = np.linspace(0, picture.shape[1], columns + 1).astype(int)
    sums = np.add.reduceat(np.add.reduceat(picture.astype(np.float64), tops[:-1], axis=0), lefts[:-1], axis=1)
    reduced: Plane = sums / (np.diff(tops)[:, None] * np.diff(lefts)[None, :])[..., None]
    return reduced


def _luma(picture: Picture) -> Plane:
    luma: Plane = picture.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    return luma


def _window(rows: int, columns: int) -> Plane:
    window: Plane = np.outer(np.hanning(rows), np.hanning(columns))
    return window


def _spectrum(luma: Plane) -> Plane:
    """Mean power spectrum over windows of at most WINDOW px a side, half overlapping."""
    rows, columns = (min(WINDOW, size) for size in luma.shape)
    window = _window(rows, columns)
    windows = np.lib.stride_tricks.sliding_window_view(luma, (rows, columns))[:: rows // 2, :: columns // 2]
    centred = windows - windows.mean(axis=(-2, -1), keepdims=True)
    power: Plane = np.square(np.abs(np.fft.fft2(centred * window))).mean(axis=(0, 1))
    return power


def _clipped(picture: Picture) -> float:
    return float(((picture == 0) | (picture == 255)).mean())
