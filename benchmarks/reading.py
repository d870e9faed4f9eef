"""What reading photos in child processes costs beside decoding them in this one: `python -m benchmarks.reading FOLDER`.

Both do what `prepare` does with a photo before it degrades: file digest and pixel digest, then once more the
crops. They take turns on the same photos. The plain way has none of the limits, and does not look for JPEGs that end
early. With one child the ratio is the overhead; with as many as there are cores it is what a user waits.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from benchmarks.timing import Contender, interleaved
from components.photos.colour_profile import in_srgb
from components.photos.crops import choose_crops
from components.photos.limits import Limits
from components.photos.reader import PhotoReader
from components.photos.reading import SUFFIXES
from components.photos.unusable import UnusablePhotoError
from components.storage import digests

SIDE, COUNT = 128, 3
TARGET = 1.15


def plainly(paths: list[Path]) -> None:
    """In this process, by Pillow's loop of opening, loading and turning."""
    for crops in (False, True):
        for path in paths:
            data = path.read_bytes()
            digests.of_bytes(data)
            with Image.open(path) as image:
                image.load()
                pixels = np.array(in_srgb(ImageOps.exif_transpose(image), image.info.get("icc_profile")))
            if crops:
                choose_crops(pixels, SIDE, COUNT)
            else:
                digests.of_bytes(f"{pixels.dtype}{pixels.shape}".encode() + pixels.tobytes())


def by_reader(reader: PhotoReader, paths: list[Path]) -> None:
    """As `prepare` does."""

    def first(path: Path) -> str:
        data = path.read_bytes()
        return digests.of_bytes(data) + reader.digest(data, path.name, SIDE)

    def second(path: Path) -> int:
        data = path.read_bytes()
        digests.of_bytes(data)
        return len(reader.crops(data, SIDE, COUNT))

    for work in (first, second):
        for path, outcome in reader.each(paths, work):
            if isinstance(outcome, UnusablePhotoError):
                raise SystemExit(f"{path}: {outcome}: give a folder of good photos")


def _timed(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def main() -> None:
    """Print ratios of wall-clock time, reader over plain loop: median, least and largest over the rounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="photos that can all be used")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the ratios there")
    arguments = parser.parse_args()
    paths = sorted(path for path in arguments.folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    limits = Limits(100_000_000, 10**9, 60.0)
    with PhotoReader(limits, 1) as one, PhotoReader(limits) as many:
        start = _timed(lambda: (one.pixels(paths[0].read_bytes()), many.pixels(paths[0].read_bytes())))
        laps = interleaved(
            [
                Contender("plain", len(paths), lambda: plainly(paths)),
                Contender("one child", len(paths), lambda: by_reader(one, paths)),
                Contender(f"{many.processes} children", len(paths), lambda: by_reader(many, paths)),
            ],
            arguments.rounds,
        )
    plain = [lap.wall for lap in laps.pop("plain")]
    found = {name: sorted(lap.wall / base for lap, base in zip(of, plain, strict=True)) for name, of in laps.items()}
    print(f"{len(paths)} photos, {np.median(plain):.2f} s plainly; two children start within {start:.2f} s")
    for name, ratios in found.items():
        print(f"{name}: {np.median(ratios):.2f} ({ratios[0]:.2f} .. {ratios[-1]:.2f}), target {TARGET}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"photos": len(paths), "ratios": found, "start": start}, indent=2) + "\n")


if __name__ == "__main__":
    main()
