"""constraints.lock: that it is of the versions that are pinned, names no place, and that pip takes nothing else."""

import base64
import hashlib
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.version import Version

from tests.made import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "scripts"))

import lock
from lock import File

LOCK = (REPOSITORY / "constraints.lock").read_text()
WHEEL = "simplejpeg-1.9.0-{}-{}-{}.whl"
BOTH = {(python, machine) for python in lock.PYTHONS for machine in (*lock.LINUX, "macos")}


def test_it_has_the_versions_that_are_pinned_and_no_others() -> None:
    """After a change of constraints.txt: python scripts/lock.py."""
    named = dict(re.findall(r"^([\w.-]+)==(\S+) \\$", LOCK, re.MULTILINE))
    assert named == lock.pinned(REPOSITORY)


def test_it_names_neither_index_nor_machine() -> None:
    for line in LOCK.splitlines():
        assert re.fullmatch(r"#.*|[\w.-]+==[\w.+!]+ \\|    --hash=sha256:[0-9a-f]{64}( \\)?", line), line
    assert not re.search(r"https?:|://", LOCK)


@pytest.mark.parametrize(
    ("wheel", "served"),
    [
        ("tqdm-4.70.1-py3-none-any.whl", BOTH),
        (WHEEL.format("cp313", "cp313", "manylinux_2_27_aarch64"), {((3, 13), "aarch64")}),
        (WHEEL.format("cp312", "abi3", "manylinux2014_x86_64"), {((3, minor), "x86_64") for minor in (12, 13, 14)}),
        (WHEEL.format("cp311", "cp311", "macosx_11_0_arm64"), {((3, 11), "macos")}),
        (WHEEL.format("cp314", "cp314t", "manylinux2014_x86_64"), set()),
        (WHEEL.format("cp311", "cp311", "musllinux_1_2_x86_64"), set()),
        (WHEEL.format("cp311", "cp311", "win_amd64"), set()),
        (WHEEL.format("cp310", "cp310", "manylinux2014_x86_64"), set()),
    ],
)
def test_who_takes_a_wheel(wheel: str, served: set[tuple[tuple[int, int], str]]) -> None:
    assert lock.serves(wheel) == served


def test_a_source_is_locked_where_a_supported_linux_lacks_a_wheel() -> None:
    source = File("simplejpeg-1.9.0.tar.gz", "0" * 64)
    wheels = [
        File(WHEEL.format(f"cp3{minor}", f"cp3{minor}", f"manylinux2014_{machine}"), f"{minor}")
        for minor in (11, 12, 13, 14)
        for machine in lock.LINUX
    ]
    windows = File(WHEEL.format("cp311", "cp311", "win_amd64"), "none of ours")
    assert lock.chosen([*wheels, windows], source) == wheels
    assert lock.chosen(wheels[:-1], source) == [*wheels[:-1], source]


def test_what_a_supported_machine_needs_must_be_pinned() -> None:
    """Debian 12's Python is 3.11.2, and needs a package that later ones do not."""
    resolved = [
        "async-timeout==5.0.1 ; python_full_version < '3.11.3'",
        "pywin32==312 ; sys_platform == 'win32'",
        "whenever==0.10.5 ; python_full_version >= '3.13'",
        "tqdm==4.70.1",
    ]
    assert lock.missing(resolved, {"tqdm": "4.70.1"}) == ["async-timeout==5.0.1", "whenever==0.10.5"]


def test_a_version_without_a_file_for_us_is_refused() -> None:
    with pytest.raises(SystemExit, match=r"simplejpeg 1.9.0 has no file for a supported Python: pin another version"):
        lock.text([("simplejpeg", "1.9.0", [])])


def test_make_takes_pip_itself_by_its_digest() -> None:
    """`sed` cuts its lines out, because an old pip takes digests from requirements only."""
    expressions = {
        re.search(r"sed -n '(\S+)' constraints\.lock", (REPOSITORY / file).read_text())[1].replace("$$", "$")  # type: ignore[index]
        for file in ("Makefile", "k8s/images/make-wheels")
    }
    assert len(expressions) == 1
    done = subprocess.run(
        ["sed", "-n", *expressions], input=LOCK, capture_output=True, text=True, check=True, timeout=300
    )
    assert re.fullmatch(rf"pip=={lock.pinned(REPOSITORY)['pip']} \\\n    --hash=sha256:[0-9a-f]{{64}}\n", done.stdout)


def _wheel(folder: Path, content: str) -> str:
    """A package `lonely` 1.0; the sha256 of its wheel."""
    file = folder / "lonely-1.0-py3-none-any.whl"
    digest = base64.urlsafe_b64encode(hashlib.sha256(content.encode()).digest()).rstrip(b"=").decode()
    members = {
        "lonely.py": content,
        "lonely-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: lonely\nVersion: 1.0\n",
        "lonely-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "lonely-1.0.dist-info/RECORD": f"lonely.py,sha256={digest},{len(content)}\n",
    }
    with zipfile.ZipFile(file, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.mark.parametrize("changed", [False, True])
def test_pip_takes_the_file_that_is_locked_and_refuses_another(tmp_path: Path, changed: bool) -> None:
    """As `make install` calls it: the requirement has no version, the constraint has version and digest."""
    asked = subprocess.run(
        [sys.executable, "-m", "pip", "--version"], capture_output=True, text=True, check=True, timeout=300
    )
    if Version(asked.stdout.split()[1]) < Version("26"):
        pytest.skip("this environment was made with HASHES=no: that pip refuses other files is NOT tested")
    sha256 = _wheel(tmp_path, "1")
    (tmp_path / "lock").write_text(lock.text([("lonely", "1.0", [File("lonely-1.0-py3-none-any.whl", sha256)])]))
    if changed:
        _wheel(tmp_path, "2")
    command = [sys.executable, "-m", "pip", "--isolated", "download", "-q", "--no-index", "--find-links", str(tmp_path)]
    command += ["--require-hashes", "-c", str(tmp_path / "lock"), "-d", str(tmp_path / "taken"), "lonely"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode == 0) is not changed, done.stderr
    assert changed is ("DO NOT MATCH THE HASHES" in done.stderr)
