"""Keys of who may promote."""

from pathlib import Path

import yaml
from typer.testing import CliRunner

from components.cli.app import app


def test_a_key_is_private_and_never_overwritten(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["keys", "new", str(tmp_path / "key"), "--name", "ada"])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    printed = yaml.safe_load(done.stdout.partition("\n\n")[2])
    assert printed["gate"]["signing"] == "ed25519"
    assert printed["gate"]["signers"]["ada"].startswith("ed25519:")
    again = CliRunner().invoke(app, ["keys", "new", str(tmp_path / "key")])
    assert again.exit_code == 2
    assert "exists already" in again.stderr
