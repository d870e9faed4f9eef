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
    # Its own validation reads every address with a grammar of addresses: minutes for a hundred packages.
    form = ["--output-reproducible", "--spec-version", "1.6", "--output-format", "JSON", "--no-validate"]
    command = [tool, "environment", *form, str(python)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}:\n{done.stderr.strip()}")
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def named(component: dict[str, Any]) -> dict[str, Any]:
    """A component whose package was installed from a wheel's file, as images are: under its public name, by its sha256.

    cyclonedx-py gives no package URL to what comes from a file, and tools that look packages up need one. A folder, as
    that of an editable project, stays without.
    """
    references = component.get("externalReferences", [])
    file = next((one for one in references if re.fullmatch(r"file://.*\.whl", one["url"])), None)
    if "purl" in component or file is None:
        return component
    name = re.sub(r"[-_.]+", "-", component["name"]).lower()
    others = [one for one in references if one is not file]
    found = {
        **component,
        "purl": f"pkg:pypi/{name}@{quote(component['version'], safe='')}",
        "externalReferences": others,
    }
    return {**found, "hashes": file["hashes"]} if file.get("hashes") else found


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
    document["components"] = [*map(named, document.get("components", [])), *_debian()]
    json.dump(document, sys.stdout, indent=1, sort_keys=True)
    print()


if __name__ == "__main__":
    main()
