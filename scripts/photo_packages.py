"""Real photographs inside Debian packages: download, unpack, cut out, and say who took each and under which licence.

Nothing is installed: `apt-get download` fetches the archive, `dpkg -x` unpacks it into a temporary folder.
"""

from __future__ import annotations

import csv
import fnmatch
import hashlib
import importlib.metadata
import io
import json
import re
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

RCC_MAGIC = b"qres"
RCC_COMPRESSED = 0x01
RCC_DIRECTORY = 0x02
NEAR_DUPLICATE_CORRELATION = 0.985
"""Thumbnails correlate above this only for the same picture at another size or recompressed."""


@dataclass(frozen=True)
class Credit:
    """Author and licence as the package states them; `source` is the address of the original, if stated."""

    author: str
    licence: str
    source: str = ""


@dataclass(frozen=True)
class Photo:
    """One photograph as it lies in its package."""

    package: str
    version: str
    path: str
    """Path in the package; for a resource file, the path inside it."""
    data: bytes = field(repr=False)
    credit: Credit

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    def pixels(self) -> Image.Image:
        """RGB, upright; transparency is not expected in a photograph and is refused."""
        image = ImageOps.exif_transpose(Image.open(io.BytesIO(self.data)))
        if image.mode == "RGBA" and image.getchannel("A").getextrema() != (255, 255):
            raise ValueError(
                f"{self.package}: {self.path} is transparent: a drawing, take it out of the list of photos"
            )
        return image.convert("RGB")


def licence_name(stated: str) -> str:
    """One spelling for each licence: packages write `CC-BY-SA 4.0`, `Public Domain`, `public-domain`."""
    name = "-".join(stated.split())
    return "Public-Domain" if name.lower() == "public-domain" else name


def download(package: str, folder: Path) -> Path:
    """The package's archive, by `apt-get download` into `folder`."""
    done = subprocess.run(["apt-get", "download", package], cwd=folder, capture_output=True, text=True, check=False)
    archives = sorted(folder.glob(f"{package}_*.deb"))
    if done.returncode != 0 or not archives:
        raise SystemExit(
            f"{package}: apt-get download failed. Run `apt-get update` as root once, and check that this is Debian "
            f"with a package mirror in reach. It said:\n{done.stderr.strip()}"
        )
    return archives[0]


def unpack(archive: Path, folder: Path) -> tuple[Path, str]:
    """Unpacks without installing; gives the root of its files and its version."""
    folder.mkdir(parents=True)
    subprocess.run(["dpkg", "-x", str(archive), str(folder)], check=True)
    shown = subprocess.run(["dpkg-deb", "-f", str(archive), "Version"], check=True, capture_output=True, text=True)
    return folder, shown.stdout.strip()


def cut_webp(blob: bytes) -> Iterator[tuple[int, bytes]]:
    """Every WebP file in `blob` with its offset, found by its RIFF header (`RIFF`, size, `WEBP`) and cut by its size.

    A header whose size runs past the end of the blob is a coincidence or a cut file, and is passed over.
    """
    start = blob.find(b"RIFF")
    while start >= 0:
        step = 4
        if blob[start + 8 : start + 12] == b"WEBP":
            size = 8 + struct.unpack_from("<I", blob, start + 4)[0]
            if size > 12 and start + size <= len(blob):
                yield start, blob[start : start + size]
                step = size
        start = blob.find(b"RIFF", start + step)


def resource_names(blob: bytes) -> dict[int, tuple[str, int]]:
    """Offset of each file's content in a Qt binary resource (.rcc) → (its path, its flags), from its own tree."""
    if blob[:4] != RCC_MAGIC:
        raise ValueError("not a Qt resource file: it does not begin with 'qres'")
    version, tree, data, names = struct.unpack_from(">4I", blob, 4)
    entry = 14 if version == 1 else 22
    found: dict[int, tuple[str, int]] = {}

    def walk(index: int, parents: tuple[str, ...]) -> None:
        at = tree + index * entry
        name_at, flags = struct.unpack_from(">IH", blob, at)
        path = parents
        if index:
            length = struct.unpack_from(">H", blob, names + name_at)[0]
            path = (*parents, blob[names + name_at + 6 : names + name_at + 6 + 2 * length].decode("utf-16-be"))
        if flags & RCC_DIRECTORY:
            count, first = struct.unpack_from(">II", blob, at + 6)
            for child in range(first, first + count):
                walk(child, path)
        else:
            found[data + struct.unpack_from(">I", blob, at + 10)[0] + 4] = ("/".join(path), flags)

    walk(0, ())
    return found


def resource_text(blob: bytes, offset: int, flags: int) -> str:
    """A text file of a Qt resource, inflated if it is stored so."""
    size = struct.unpack_from(">I", blob, offset - 4)[0]
    data = blob[offset : offset + size]
    return (zlib.decompress(data[4:]) if flags & RCC_COMPRESSED else data).decode("utf-8")


def readme_credits(text: str) -> dict[str, Credit]:
    """File name → credit, from the paragraphs (Copyright, License, Source, Files) of an image folder's README."""
    credits: dict[str, Credit] = {}
    for paragraph in re.split(r"\n\s*\n", text):
        fields = dict(re.findall(r"^(Copyright|License|Source|Comment):[ \t]*(.*)$", paragraph, re.MULTILINE))
        if "Copyright" not in fields or "License" not in fields:
            continue
        author = fields["Copyright"].strip()
        based_on = re.search(r"based on an? (?:original image|photo) by (.+?), licen", fields.get("Comment", ""))
        if based_on:
            author = f"{based_on[1]}, adapted by {author}"
        source = fields.get("Source", "").strip() or next(
            iter(re.findall(r"https?://\S+", fields.get("Comment", ""))), ""
        )
        for name in re.findall(r"\S+\.webp", paragraph):
            if not name.startswith("http"):
                credits[name] = Credit(author, licence_name(fields["License"]), source)
    return credits


def copyright_credits(text: str) -> list[tuple[list[str], Credit]]:
    """(patterns, credit) of each `Files:` paragraph of a machine-readable debian/copyright; the last match wins."""
    paragraphs = []
    for block in re.split(r"\n\s*\n", text):
        found: dict[str, str] = {}
        key = ""
        for line in block.splitlines():
            head = re.match(r"(\S+):\s*(.*)", line)
            if head and not line[0].isspace():
                key = head[1]
                found[key] = head[2]
            elif key:
                found[key] += "\n" + line.strip()
        if "Files" in found and "Copyright" in found:
            authors = "; ".join(part for part in found["Copyright"].splitlines() if part.strip())
            paragraphs.append((found["Files"].split(), Credit(authors, licence_name(found["License"].splitlines()[0]))))
    return paragraphs


def credit_for(path: str, paragraphs: list[tuple[list[str], Credit]]) -> Credit:
    """The last paragraph for everything or for a file of this name (packages move files between folders)."""
    credit = None
    for patterns, candidate in paragraphs:
        if any(p == "*" or (Path(p).name != "*" and fnmatch.fnmatch(Path(path).name, Path(p).name)) for p in patterns):
            credit = candidate
    if credit is None:
        raise ValueError(f"debian/copyright says nothing about {path}")
    return credit


def desktop_credit(path: Path) -> Credit | None:
    """Puzzle collections name each picture's author and licence in a .desktop file beside it."""
    beside = path.with_suffix(".desktop")
    if not beside.exists():
        return None
    found = dict(re.findall(r"^X-KDE-PluginInfo-(\w+)=(.*)$", beside.read_text("utf-8"), re.MULTILINE))
    return Credit(found["Author"], licence_name(found["License"]), found["Website"])


def metadata_credit(path: Path) -> Credit | None:
    """Plasma wallpapers name their author in metadata.json, three folders up."""
    beside = path.parents[2] / "metadata.json"
    if not beside.exists():
        return None
    plugin = json.loads(beside.read_text("utf-8"))["KPlugin"]
    return Credit(plugin["Authors"][0]["Name"], plugin["License"])


def package_photos(package: str, root: Path, version: str, patterns: list[str]) -> Iterator[Photo]:
    """The package's files that match one of `patterns` (paths below /usr/share, or inside its .rcc files)."""
    share = root / "usr/share"
    text = (share / f"doc/{package}/copyright").read_text("utf-8", errors="replace")
    paragraphs = copyright_credits(text)
    for file in sorted(path for path in share.rglob("*") if path.is_file() and not path.is_symlink()):
        path = file.relative_to(share).as_posix()
        if file.suffix == ".rcc":
            yield from _resource_photos(package, version, file, patterns)
        elif any(fnmatch.fnmatch(path, pattern) for pattern in patterns):
            credit = desktop_credit(file) or metadata_credit(file) or credit_for(path, paragraphs)
            yield Photo(package, version, path, file.read_bytes(), credit)


def _resource_photos(package: str, version: str, file: Path, patterns: list[str]) -> Iterator[Photo]:
    blob = file.read_bytes()
    if blob[:4] != RCC_MAGIC:
        return
    names = resource_names(blob)
    credits: dict[str, Credit] = {}
    for offset, (path, flags) in names.items():
        if path.endswith("/README"):
            folder = path.removesuffix("README")
            credits |= {
                folder + name: credit for name, credit in readme_credits(resource_text(blob, offset, flags)).items()
            }
    for offset, data in cut_webp(blob):
        path = names[offset][0]
        if any(fnmatch.fnmatch(path, pattern) for pattern in patterns):
            credit = credits.get(path, Credit("unknown (the package does not credit this file)", "unknown"))
            yield Photo(package, version, path, data, credit)


def wheel_photos(distribution: str, credits: dict[str, Credit]) -> Iterator[Photo]:
    """Photographs of an installed wheel."""
    try:
        installed = importlib.metadata.distribution(distribution)
    except importlib.metadata.PackageNotFoundError:
        raise SystemExit(f"{distribution} is not installed here: run this with the project's own venv") from None
    for path, credit in credits.items():
        yield Photo(distribution, installed.version, path, Path(str(installed.locate_file(path))).read_bytes(), credit)


def all_photos(debian: dict[str, list[str]], wheels: dict[str, dict[str, Credit]], folder: Path) -> Iterator[Photo]:
    """Every listed photograph, packages unpacked below `folder`; a pattern without a file is an error."""
    for package, patterns in debian.items():
        say(f"{package}: downloading")
        root, version = unpack(download(package, folder), folder / package)
        found = list(package_photos(package, root, version, patterns))
        idle = [p for p in patterns if not any(fnmatch.fnmatch(photo.path, p) for photo in found)]
        if idle:
            raise SystemExit(f"{package} {version} holds no file for {', '.join(idle)}: bring photo_list.py up to date")
        say(f"{package} {version}: {len(found)} photos")
        yield from found
    for distribution, credits in wheels.items():
        yield from wheel_photos(distribution, credits)


def thumbnail(image: Image.Image) -> np.ndarray:
    """24×24 grey thumbnail, float [576], zero mean and unit norm, so that a dot product is a correlation."""
    small = np.asarray(image.convert("L").resize((24, 24), Image.Resampling.BOX), dtype=np.float64).ravel()
    small -= small.mean()
    return small / max(float(np.linalg.norm(small)), 1e-9)


def read_attribution(path: Path) -> list[dict[str, str]]:
    """Rows of data/photos/ATTRIBUTION.csv."""
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def say(message: str) -> None:
    """Progress goes to stderr: stdout stays free for what a script prints as its result."""
    print(message, file=sys.stderr, flush=True)
