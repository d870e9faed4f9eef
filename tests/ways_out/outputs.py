"""What a stage makes, by dvc.yaml, and whether one that was stopped left halves, or made other bytes in the end."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import yaml

from components.registry.tracking import connected
from components.settings import load_settings
from tests.made import REPOSITORY

DIFFERS = {"reports/throughput.csv", "reports/registration.json"}
"""What two runs make differently: speed, and the id of MLflow's run."""
WITH_TIMES = ("cache/train/", "mlartifacts/", "mlflow.db")
"""What has times in it."""


def remove(path: Path) -> None:
    """A file, or a folder with all that is in it."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def files(root: Path) -> dict[str, bytes]:
    """All of a project but locks, by their paths."""
    paths = (path for path in sorted(root.rglob("*")) if path.is_file() and path.suffix != ".lock")
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}


def made_by(stage: str) -> list[str]:
    """What dvc.yaml says that a stage makes."""
    entry = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"][stage]
    named = [out for kind in ("outs", "metrics", "plots") for out in entry.get(kind, [])]
    return [out if isinstance(out, str) else next(iter(out)) for out in named]


@dataclass(frozen=True)
class Unmade:
    """A finished project without what a stage makes, its cache and its registry.

    Attributes:
        whole: files of the finished project.
        before: of this one, before the stage was asked for again.
    """

    root: Path
    stage: str
    whole: dict[str, bytes]
    before: dict[str, bytes]

    @classmethod
    def of(cls, finished: Path, root: Path, stage: str) -> "Unmade":
        """Made in `root`, which is not there yet."""
        shutil.copytree(finished, root, ignore=shutil.ignore_patterns("cache", "mlflow.db", "mlartifacts"))
        for name in made_by(stage):
            remove(root / name)
        return cls(root, stage, files(finished), files(root))

    def has_no_halves(self) -> None:
        """What the stage has made is whole, under its name, and what was there is as it was."""
        now = files(self.root)
        new = [name for name in now if now[name] != self.before.get(name) and not name.startswith(WITH_TIMES)]
        assert [name for name in new if name not in DIFFERS and now[name] != self.whole.get(name)] == []
        assert self.before.items() <= now.items()

    def is_as_finished(self) -> None:
        """The stage's outputs have the finished project's bytes, one model is registered, and nothing is left over."""
        now = files(self.root)
        made = [name for name in self.whole if any(f"{name}/".startswith(f"{out}/") for out in made_by(self.stage))]
        assert made
        assert [name for name in made if name not in now] == []
        assert [name for name in made if name not in DIFFERS and now[name] != self.whole[name]] == []
        assert [name for name in now.keys() - self.whole.keys() if not name.startswith(WITH_TIMES)] == []
        if self.stage == "register":
            settings = load_settings(self.root / "params.yaml").register_
            with connected(settings, self.root) as client:
                assert [found.version for found in client.search_model_versions()] == [1]
