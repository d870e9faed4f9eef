"""The photo scripts: cutting files out of resources, credits, and that no committed photo reaches the extended set."""

import csv
import hashlib
import io
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import build_committed_photos  # noqa: E402
import fetch_extended  # noqa: E402
import photo_packages  # noqa: E402


def _webp(seed: int) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 256, (24, 40, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "WEBP")
    return buffer.getvalue()


def test_webp_files_are_cut_out_by_their_riff_header() -> None:
    first, second = _webp(0), _webp(1)
    sound = b"RIFF" + struct.pack("<I", 40) + b"WAVE" + bytes(32)
    lying = b"RIFF" + struct.pack("<I", 10**9) + b"WEBP"  # claims to go on past the end
    blob = b"padding" + first + b"RI" + sound + second + lying + b"tail"
    cut = dict(photo_packages.cut_webp(blob))
    assert list(cut.values()) == [first, second]
    assert list(cut) == [7, 7 + len(first) + 2 + len(sound)]
    assert Image.open(io.BytesIO(cut[7])).size == (40, 24)


def test_a_blob_without_webp_gives_nothing() -> None:
    assert list(photo_packages.cut_webp(b"RIFF" * 3 + bytes(50))) == []


def _resource(files: dict[str, bytes]) -> bytes:
    """A Qt resource of format 1: a root folder with plain files."""
    data, names, tree = b"", b"", struct.pack(">IHII", 0, 2, len(files), 1)
    for name, content in files.items():
        tree += struct.pack(">IHHHI", len(names), 0, 0, 0, len(data))
        names += struct.pack(">HI", len(name), 0) + name.encode("utf-16-be")
        data += struct.pack(">I", len(content)) + content
    header = struct.pack(">4s4I", b"qres", 1, 20, 20 + len(tree), 20 + len(tree) + len(data))
    return header + tree + data + names


def test_resource_files_are_named_by_their_tree() -> None:
    files = {"a.webp": _webp(0), "README": b"Copyright: someone", "b.webp": _webp(1)}
    blob = _resource(files)
    names = photo_packages.resource_names(blob)
    assert [path for path, _ in names.values()] == list(files)
    assert {names[offset][0]: data for offset, data in photo_packages.cut_webp(blob)} == {
        name: files[name] for name in ("a.webp", "b.webp")
    }
    offset = next(offset for offset, (path, _) in names.items() if path == "README")
    assert photo_packages.resource_text(blob, offset, 0) == "Copyright: someone"


def test_a_file_that_is_no_resource_is_refused() -> None:
    with pytest.raises(ValueError, match="not a Qt resource"):
        photo_packages.resource_names(b"PK\3\4" + bytes(40))


def test_readme_credits() -> None:
    credits = photo_packages.readme_credits(
        "Copyright: A. Photographer\nLicense: CC-BY-SA 4.0\nSource: https://example.org/File:x.webp\nFiles:\nx.webp\ny.webp\n"
        "\n"
        "Copyright: The game\nLicense: Public domain\nFiles: z.webp\n"
        "Comment: based on a photo by B. Other, license CC-BY 3.0, source at https://example.org/z.jpg\n"
    )
    assert credits["x.webp"] == photo_packages.Credit(
        "A. Photographer", "CC-BY-SA-4.0", "https://example.org/File:x.webp"
    )
    assert credits["y.webp"] == credits["x.webp"]
    assert credits["z.webp"] == photo_packages.Credit(
        "B. Other, adapted by The game", "Public-Domain", "https://example.org/z.jpg"
    )
    assert set(credits) == {"x.webp", "y.webp", "z.webp"}


COPYRIGHT = """Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
Copyright: 2020 Everyone
License: GPL-2+

Files: 16.04/Bridge.jpg
 16.04/Dog.jpg
Copyright: 2018 A. Photographer
License: CC-BY-4.0
 The text of the licence.

Files: debian/*
Copyright: 2021 Packager
License: Expat
"""


@pytest.mark.parametrize(
    ("path", "author", "licence"),
    [
        ("backgrounds/Dog.jpg", "2018 A. Photographer", "CC-BY-4.0"),
        ("backgrounds/Other.jpg", "2020 Everyone", "GPL-2+"),  # debian/* is not about every file
    ],
)
def test_the_last_matching_paragraph_of_debian_copyright_counts(path: str, author: str, licence: str) -> None:
    paragraphs = photo_packages.copyright_credits(COPYRIGHT)
    assert photo_packages.credit_for(path, paragraphs) == photo_packages.Credit(author, licence)


def test_a_picture_at_another_size_and_quality_is_known() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    photo = Image.fromarray(noise).resize((640, 480), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    photo.resize((321, 240)).save(buffer, "JPEG", quality=60)
    known = fetch_extended.Known()
    known.add("digest", photo)
    assert known.seen("another digest", Image.open(buffer).convert("RGB"))
    assert known.seen("digest", Image.new("RGB", (10, 10)))
    mirrored = photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    assert not known.seen("another digest", mirrored)


def test_without_attribution_the_extended_set_is_not_fetched(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="could leak"):
        fetch_extended.committed(tmp_path)


def test_committed_photos_are_what_their_table_says() -> None:
    folder = ROOT / "data/photos"
    with (folder / "ATTRIBUTION.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    photos = {path.name: path for path in folder.glob("*.jpg")}
    assert {row["file"] for row in rows} == set(photos)
    assert len(photos) >= 60
    assert sum(path.stat().st_size for path in photos.values()) <= 8_000_000
    assert len({row["original_sha256"] for row in rows}) == len(rows)
    for row in rows:
        assert hashlib.sha256(photos[row["file"]].read_bytes()).hexdigest() == row["sha256"]
        assert row["author"]
        assert row["licence"].startswith(build_committed_photos.OPEN_LICENCES)
        with Image.open(photos[row["file"]]) as image:
            assert 500 <= max(image.size) <= 640 or row["file"] == "chelsea.jpg"
            assert min(image.size) >= 256
