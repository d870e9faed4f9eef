"""An overlay's images by digest: what writes them, and what says which are missing."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.k8s.manifests import ROOT, kustomize

sys.path.insert(0, str(ROOT / "scripts"))

import image_digests as digests

NAMES = ("components", "flow", "mlflow")
IMAGES = {name: f"registry.example.com/ours/{name}@sha256:{number:064x}" for number, name in enumerate(NAMES, 1)}
POSTGRES = f"registry.example.com/library/postgres@sha256:{9:064x}"
PODMAN = """\
#!/bin/sh
# what podman says of a push: the digest, into the file that it is given
[ "$1 $2 $3 $4" = "push -q --tls-verify=false --digestfile" ] || exit 9
printf 'sha256:%064x' "$(echo "$7" | wc -c)" > "$5"
echo "$6 $7" >> "$LOG"
"""


def _copy(tmp_path: Path, overlay: str) -> Path:
    """All of k8s, so that the overlay's copy finds its base."""
    shutil.copytree(ROOT / "k8s", tmp_path / "k8s")
    return tmp_path / "k8s" / "overlays" / overlay


def _check(overlay: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts/image_digests.py"), "check", str(overlay)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


def test_places_to_fill_in_and_tags_are_told() -> None:
    gpu, local = (digests.without_digest(ROOT / "k8s" / "overlays" / name) for name in ("gpu", "local"))
    assert [line.split(" is ")[0] for line in gpu] == [
        "kustomization.yaml: dp2o-flow",
        "kustomization.yaml: dp2o-mlflow",
        "kustomization.yaml: postgres",
        "settings.yaml: DP2O_COMPONENTS_IMAGE",
    ]
    assert "kustomization.yaml: postgres is docker.io/library/postgres, 17-bookworm" in local
    assert len(local) == 4


@pytest.mark.parametrize("name", ["gpu", "local"])
def test_what_is_written_is_what_pods_get(tmp_path: Path, name: str) -> None:
    overlay = _copy(tmp_path, name)
    comments = [line for line in (overlay / "kustomization.yaml").read_text().splitlines() if line.startswith("#")]
    digests.write(overlay, IMAGES)
    assert [line.split(" is ")[0] for line in digests.without_digest(overlay)] == ["kustomization.yaml: postgres"]
    assert (done := _check(overlay)).returncode == 2
    assert "postgres" in done.stderr

    text = (overlay / "kustomization.yaml").read_text()
    assert [line for line in text.splitlines() if line.startswith("#")] == comments
    listed = yaml.safe_load(text)
    next(one for one in listed["images"] if one["name"] == "postgres").update(
        newName=POSTGRES.partition("@")[0], digest=POSTGRES.partition("@")[2]
    )
    (overlay / "kustomization.yaml").write_text(yaml.safe_dump(listed))
    assert _check(overlay).returncode == 0
    done = subprocess.run([*kustomize(), str(overlay)], capture_output=True, text=True, check=True, timeout=300)
    assert all(image in done.stdout for image in IMAGES.values())
    assert "localhost/" not in done.stdout
    assert f"0{'0' * 62}0" not in done.stdout


def test_no_tag_is_written(tmp_path: Path) -> None:
    overlay = _copy(tmp_path, "gpu")
    with pytest.raises(SystemExit, match=r"flow: registry\.example\.com/flow:dev has no digest"):
        digests.write(overlay, {"flow": "registry.example.com/flow:dev"})
    assert len(digests.without_digest(overlay)) == 4


def test_a_folder_that_is_no_overlay_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"kustomization.yaml is missing: name the folder of an overlay"):
        digests.without_digest(tmp_path)


def test_a_push_writes_what_the_registry_answered(tmp_path: Path) -> None:
    overlay = _copy(tmp_path, "gpu")
    engine = tmp_path / "podman"
    engine.write_text(PODMAN)
    engine.chmod(0o755)
    command = [
        sys.executable,
        str(ROOT / "scripts/image_digests.py"),
        "push",
        "registry.example.com:5000/ours",
        str(overlay),
    ]
    environment = {**os.environ, "ENGINE": str(engine), "LOG": str(tmp_path / "log")}
    done = subprocess.run(
        [*command, "--", "--tls-verify=false"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 2, done.stderr  # of postgres, which is not ours to push
    assert (tmp_path / "log").read_text().split()[::2] == [f"localhost/dp2o-{name}:dev" for name in NAMES]
    listed = yaml.safe_load((overlay / "kustomization.yaml").read_text())["images"]
    flow = next(one for one in listed if one["name"] == "dp2o-flow")
    assert flow["newName"] == "registry.example.com:5000/ours/flow"
    assert f"export DP2O_FLOW_IMAGE={flow['newName']}@{flow['digest']}" in done.stdout
