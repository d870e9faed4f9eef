"""Which Pythons are taken and which are refused, and that all who say it say the same."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from tests.made import REPOSITORY

TAKEN, REFUSED = ["3.11", "3.12", "3.13", "3.14"], ["2.7", "3.10", "3.15"]


def make_install(folder: Path, version: str) -> subprocess.CompletedProcess[str]:
    """`make install` with a Python that says it is that version, and can nothing but say so."""
    shutil.copy(REPOSITORY / "Makefile", folder)
    for name in ("pyproject.toml", "constraints.txt", "constraints.lock", "weight-packages.txt"):
        (folder / name).touch()
    for name in ("weights.py", "table.py"):
        (folder / "components/metrics").mkdir(parents=True, exist_ok=True)
        (folder / "components/metrics" / name).touch()
    python = folder / "python"
    pretend = f"import sys; sys.version_info = ({version.replace('.', ', ')}, 0); exec(sys.argv[1])"
    python.write_text(
        f'#!/bin/sh\n[ "$1" = -c ] || {{ echo "asked for $*"; exit 1; }}\nexec {sys.executable} -c "{pretend}" "$2"\n'
    )
    python.chmod(0o755)
    # These tests are run by make themselves: a make inside another one tells its folders.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        ["make", "install", f"PYTHON={python}"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.parametrize("version", REFUSED)
def test_an_unsupported_python_is_refused_by_name_before_anything_else(tmp_path: Path, version: str) -> None:
    done = make_install(tmp_path, version)
    assert done.returncode != 0
    assert f"is Python {version}, and this project needs 3.11 to 3.14: make PYTHON=" in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / ".venv").exists()


@pytest.mark.parametrize("version", TAKEN)
def test_a_supported_one_goes_on(tmp_path: Path, version: str) -> None:
    done = make_install(tmp_path, version)
    assert "asked for -m venv .venv" in done.stdout
    assert "is Python" not in done.stderr


def test_pip_refuses_and_takes_the_same() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    allowed = SpecifierSet(project["requires-python"])
    assert [version for version in (*REFUSED, *TAKEN) if version in allowed] == TAKEN


def test_ci_tries_what_the_readme_names() -> None:
    expression = re.search(r"sed -n '(s/.*/p)' README", (REPOSITORY / ".ci/pythons").read_text())
    assert expression is not None
    done = subprocess.run(
        ["sed", "-n", expression[1], "README.md"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    named = re.findall(r"3\.\d+", done.stdout)
    assert named
    assert set(named) <= set(TAKEN)
