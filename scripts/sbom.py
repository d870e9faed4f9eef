"""What is installed, as a CycloneDX document (JSON, 1.6): Python packages of an environment, and Debian's of a system.

    python scripts/sbom.py /opt/venv/bin/python > sbom.cdx.json

It reads what is there, not what was asked for. The same packages give the same bytes: no time, no serial number. It
needs cyclonedx-py (package cyclonedx-bom) beside this Python, and nothing of this project: images are built with it.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

FORMAT = "${Package}\t${Version}\t${Architecture}\t${db:Status-Abbrev}\n"


def python_packages(python: Path) -> dict[str, Any]:
    """The document of an environment's packages.

    Raises:
        SystemExit: cyclonedx-py is missing, or says why it cannot.
    """
    tool = shutil.which("cyclonedx-py", path=str(Path(sys.executable).parent)) or shutil.which("cyclonedx-py")
    if tool is None:
        raise SystemExit("cyclonedx-py is not installed: pip install -c constraints.txt cyclonedx-bom")
    command = [
        tool,
        "environment",
        "--output-reproducible",
        "--spec-version",
        "1.6",
        "--output-format",
        "JSON",
        str(python),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}:\n{done.stderr.strip()}")
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def debian_packages(listed: Iterable[str], release: str) -> list[dict[str, str]]:
    """Components of the packages that dpkg says are installed.

    Args:
        listed: lines of name, version, architecture and state, as `FORMAT`.
        release: Debian's number or name, for example `12`.
    """
    found = []
    for line in listed:
        name, version, architecture, state = line.split("\t")
        if state.startswith("ii"):
            where = (
                f"pkg:deb/debian/{quote(name)}@{quote(version, safe='')}?arch={architecture}&distro=debian-{release}"
            )
            found.append({"type": "library", "bom-ref": where, "name": name, "version": version, "purl": where})
    return sorted(found, key=lambda one: one["purl"])


def _debian() -> list[dict[str, str]]:
    if shutil.which("dpkg-query") is None:
        return []
    listed = subprocess.run(["dpkg-query", "-W", "-f", FORMAT], capture_output=True, text=True, check=True).stdout
    release = re.search(r'^VERSION_ID="?([\w.]+)', Path("/etc/os-release").read_text(), re.MULTILINE)
    return debian_packages(listed.splitlines(), release[1] if release else "unknown")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("python", type=Path, help="the environment's interpreter")
    document = python_packages(parser.parse_args().python)
    document["components"] = [*document.get("components", []), *_debian()]
    json.dump(document, sys.stdout, indent=1, sort_keys=True)
    print()


if __name__ == "__main__":
    main()
