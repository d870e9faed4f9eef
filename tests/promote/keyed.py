"""Keys for tests: Ada may promote, Eve has a key that nobody knows."""

from pathlib import Path

import pytest

from components.registry import signing


def new_keys(folder: Path) -> dict[str, str]:
    """Private keys `ada` and `eve` in `folder`; the public ones by name."""
    folder.mkdir(parents=True, exist_ok=True)
    return {name: signing.new_key(folder / name) for name in ("ada", "eve")}


def sign_as(monkeypatch: pytest.MonkeyPatch, folder: Path, name: str) -> None:
    """This process signs with that key from now on."""
    monkeypatch.delenv(signing.KEY_VARIABLE, raising=False)
    monkeypatch.setenv(signing.KEY_FILE_VARIABLE, str(folder / name))
