"""Images of an overlay by digest: pushes what `make images` built and writes the digests, or says which are missing.

    python scripts/image_digests.py push registry.example.com/dp2o k8s/overlays/mine
    python scripts/image_digests.py check k8s/overlays/mine

A tag can mean another image tomorrow; a digest cannot. `push` writes `images` of the overlay's kustomization.yaml and
DP2O_COMPONENTS_IMAGE of its settings.yaml, and keeps their comments. `check` ends with 2 if an image of the overlay is
named by a tag alone, or by the zeros of a place to fill in. ENGINE=docker pushes with docker.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

NAMES = ("components", "flow", "mlflow")
COMPONENTS = "DP2O_COMPONENTS_IMAGE"
DIGEST = re.compile(r"sha256:(?!0{64})[0-9a-f]{64}")


def _yaml() -> YAML:
    form = YAML()
    form.indent(mapping=2, sequence=4, offset=2)
    form.width = 4096
    form.preserve_quotes = True
    return form


def _read(file: Path) -> Any:
    if not file.is_file():
        raise SystemExit(f"{file} is missing: name the folder of an overlay, for example a copy of k8s/overlays/gpu")
    return _yaml().load(file)


def write(overlay: Path, images: Mapping[str, str]) -> None:
    """Name images in an overlay's files.

    Args:
        images: `REGISTRY/NAME@sha256:…` by `components`, `flow`, `mlflow`.

    Raises:
        SystemExit: a file is missing, or one that is named has no digest.
    """
    for name, image in images.items():
        if not DIGEST.fullmatch(image.partition("@")[2]):
            raise SystemExit(f"{name}: {image} has no digest: NAME@sha256:…")
    kustomization, settings = overlay / "kustomization.yaml", overlay / "settings.yaml"
    listed, variables = _read(kustomization), _read(settings)
    for name, image in images.items():
        if name == "components":
            variables["data"][COMPONENTS] = image
            continue
        entries = listed.setdefault("images", [])
        entry = next((one for one in entries if one["name"] == f"dp2o-{name}"), None)
        if entry is None:
            entry = {"name": f"dp2o-{name}"}
            entries.append(entry)
        entry.pop("newTag", None)
        entry["newName"], _, entry["digest"] = image.partition("@")
    _yaml().dump(listed, kustomization)
    _yaml().dump(variables, settings)


def without_digest(overlay: Path) -> list[str]:
    """What an overlay names by a tag alone, or by the zeros of a place to fill in; a sentence each."""
    found = []
    for entry in _read(overlay / "kustomization.yaml").get("images", []):
        if not DIGEST.fullmatch(str(entry.get("digest", ""))):
            named = entry.get("digest") or entry.get("newTag") or "no tag"
            found.append(f"kustomization.yaml: {entry['name']} is {entry.get('newName', entry['name'])}, {named}")
    image = str(_read(overlay / "settings.yaml")["data"].get(COMPONENTS, ""))
    if not DIGEST.fullmatch(image.partition("@")[2]):
        found.append(f"settings.yaml: {COMPONENTS} is {image or 'empty'}")
    return found


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}:\n{done.stderr.strip()}")
    return done.stdout.strip()


def push(engine: str, local: str, target: str, options: list[str]) -> str:
    """Push a local image; `REPOSITORY@sha256:…` as the registry has it.

    Raises:
        SystemExit: the engine's own words.
    """
    repository = target.rpartition(":")[0]
    if Path(engine).name == "docker":
        _run(engine, "tag", local, target)
        _run(engine, "push", "-q", *options, target)
        digests = _run(engine, "image", "inspect", "--format", '{{join .RepoDigests " "}}', target).split()
        return next(one for one in digests if one.startswith(f"{repository}@"))
    with tempfile.NamedTemporaryFile("r") as file:
        _run(engine, "push", "-q", *options, "--digestfile", file.name, local, target)
        return f"{repository}@{file.read().strip()}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    does = parser.add_subparsers(dest="does", required=True)
    pushing = does.add_parser("push", help="push the images and write their digests into an overlay")
    pushing.add_argument("registry", help="registry and prefix: registry.example.com/dp2o")
    pushing.add_argument("overlay", type=Path)
    pushing.add_argument("--tag", default="dev", help="tag of the local images, kept in the registry (default: dev)")
    pushing.add_argument(
        "options", nargs="*", help="after --: options of the engine's push, such as --tls-verify=false"
    )
    does.add_parser("check", help="say which images have no digest").add_argument("overlay", type=Path)
    options = parser.parse_args()
    if options.does == "push":
        engine = os.environ.get("ENGINE") or shutil.which("podman") or shutil.which("docker")
        if engine is None:
            raise SystemExit("neither podman nor docker is installed")
        images = {}
        for name in NAMES:
            target = f"{options.registry}/{name}:{options.tag}"
            images[name] = push(engine, f"localhost/dp2o-{name}:{options.tag}", target, options.options)
            print(images[name])
        write(options.overlay, images)
        print(f"for `prefect deploy`: export DP2O_FLOW_IMAGE={images['flow']}")
    if lacking := without_digest(options.overlay):
        print(f"{options.overlay}: images without a digest", *lacking, sep="\n  ", file=sys.stderr)
        raise SystemExit(2)


if __name__ == "__main__":
    main()
