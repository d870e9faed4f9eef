"""A project with things in every place: branches, a tag, versions, a champion, results of flows, a cache, a remote."""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlflow
import yaml

from components.artifacts import tables
from components.cleaning.collect import Wanted
from components.cleaning.world import lock_digest
from components.generate.cache import Entry as Candidate
from components.generate.cache import GroupCache
from components.promote.production import copy_to_production, lineage
from components.promote.transaction import commit, reconcile
from components.registry.history import Content as Record
from components.registry.tracking import connected, experiment_id
from components.registry.trust import trust_of
from components.registry.versions import IDENTITY_TAG
from components.score.cache import Score, ScoreCache
from components.settings import Settings, load_settings
from components.storage.dvc_hash import listing
from components.storage.store import Content, Store
from components.task.document import Result
from tests.made import small_params
from tests.promote.championed import files_like_a_model

DAY = 86400.0
MONTH = Wanted(30 * DAY)


def later() -> float:
    """A clock by which all that is made now is old."""
    return time.time() + 40 * DAY


def git(root: Path, *arguments: str) -> str:
    own = ("-c", "user.name=ada", "-c", "user.email=ada@example.org", "-c", "init.defaultBranch=main")
    return subprocess.run(
        ["git", *own, *arguments], cwd=root, check=True, capture_output=True, text=True, timeout=300
    ).stdout.strip()


@dataclass
class Project:
    """A project; what is made in it is the same in DVC's cache and in the remote."""

    root: Path
    settings: Settings
    stores: tuple[Store, ...]
    locks: dict[str, str] = field(default_factory=dict)

    def keep(self, text: str | bytes) -> Content:
        value = text.encode() if isinstance(text, str) else text
        first, _ = (store.keep_bytes(value) for store in self.stores)
        return first

    def folder(self, files: Mapping[str, str]) -> tuple[str, list[str]]:
        """md5 of a folder's listing, and of its files."""
        made = {name: self.keep(text) for name, text in files.items()}
        content, _ = listing(made)
        kept, _ = (store.keep_bytes(content, ".dir") for store in self.stores)
        return kept.md5, [one.md5 for one in made.values()]

    def objects(self) -> list[set[str]]:
        """md5s that are there, of the cache and of the remote."""
        found = []
        for store in self.stores:
            base = Path(store.url.removeprefix("file://")) / "files/md5"
            found.append({path.parent.name + path.name for path in base.rglob("*") if path.is_file()})
        return found

    def lock(self, name: str, lr_ids: Iterable[str] = ()) -> list[str]:
        """Write a dvc.lock of which every object begins with `name`; md5s of all of them."""
        folder, files = self.folder({"a.tar": f"{name} a", "b.tar": f"{name} b"})
        rows = self.keep(candidates(lr_ids, name))
        outs = [{"path": "data/candidates", "md5": folder, "size": 1, "nfiles": 2},
                {"path": "data/candidates.parquet", "md5": rows.md5, "size": rows.size}]  # fmt: skip
        text = yaml.safe_dump({"schema": "2.0", "stages": {"generate": {"cmd": "python", "outs": outs}}})
        (self.root / "dvc.lock").write_text(text)
        self.locks[name] = lock_digest(text)
        return [folder, *files, rows.md5]

    def commit(self, message: str) -> None:
        git(self.root, "add", "-A")
        git(self.root, "commit", "--allow-empty", "-qm", message)

    def register(self, name: str, lock: str, alias: str = "") -> tuple[str, str]:
        """A version and its run, as `register` leaves them."""
        with connected(self.settings.register_, self.root) as client:
            run = client.create_run(experiment_id(client, self.settings.register_, self.root))
            with tempfile.TemporaryDirectory() as folder:
                files = files_like_a_model(Path(folder), len(name))
                client.log_artifacts(run.info.run_id, str(files.folder))
            client.set_terminated(run.info.run_id)
            tags = {IDENTITY_TAG: name, "dp2o.dvc_lock": self.locks[lock], "dp2o.model": "w" * 64}
            source = f"{run.info.artifact_uri}/model"
            version = client.create_model_version("sr-dev", source, run.info.run_id, tags=tags)
            if alias:
                client.set_registered_model_alias("sr-dev", alias, version.version)
        return str(version.version), run.info.run_id

    def promote(self, number: str, folder: Path) -> None:
        """That version becomes the champion, with files of its own."""
        trust = trust_of(self.settings.gate, self.root)
        with connected(self.settings.register_, self.root) as client:
            history, version = reconcile(client, "sr", trust), client.get_model_version("sr-dev", number)
            made = files_like_a_model(folder, 7)
            place = (self.settings.register_, self.root)
            copy, run = copy_to_production(client, place, version, "sr", made)
            record = Record("promote", "sr", copy, f"sr-dev/{number}", None, "ada", "made", {}, files=made.files,
                            lineage=lineage(version), inputs=made.inputs, run=run)  # fmt: skip
            commit(client, "sr", record, history, trust)

    def work(self, lr_id: str, name: str) -> tuple[Path, Path]:
        """Candidates and scores in the cache, as `lock` names them; their files."""
        cache = self.settings.run.cache_folder(self.root)
        before = set(cache.path.rglob("*.*"))
        GroupCache(cache, name, "s", "1").write(lr_id, "", [Candidate(b"png")])
        ScoreCache(cache).write(lr_id, name, {"metric": {image(lr_id, name): Score(0.5)}})
        group, score = sorted(set(cache.path.rglob("*.*")) - before, key=lambda path: path.suffix)
        return group, score

    def result(self, name: str, made: Mapping[str, str]) -> str:
        """A result in the remote, whose outputs have these md5s; its key."""
        key = f"results/generate-{name}/publish.json"
        self.stores[1].write(key, Result(outputs={path: (md5, 1, "") for path, md5 in made.items()}).model_dump())
        return key


def image(lr_id: str, name: str) -> str:
    return f"{lr_id} {name}"


def candidates(lr_ids: Iterable[str], name: str) -> bytes:
    """The table of candidates, one an LR image."""
    rows: list[dict[str, Any]] = [
        {"lr_id": lr_id, "index": 0, "split": "align", "seed": 0, "shard": "a.tar", "image_digest": image(lr_id, name),
         "model_digest": name, "sampler_digest": "s", "code_version": "1"}
        for lr_id in lr_ids or ["none"]
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.parquet"
        tables.write_rows(path, tables.CANDIDATES, rows)
        return path.read_bytes()


def make(root: Path, database: Path) -> Project:
    """Git, DVC with a remote, and an empty registry."""
    from dvc.repo import Repo  # noqa: PLC0415  # a second to import

    shutil.copy(database, root / "mlflow.db")
    values = small_params()
    values["register"] = {"experiment": "test", "model_name": "sr-dev", "tracking_uri": "sqlite:///mlflow.db"}
    (root / "params.yaml").write_text(yaml.safe_dump(values))
    (root / ".gitignore").write_text("/mlflow.db\n/mlartifacts/\n/cache/\n/remote/\n")
    git(root, "init", "-q")
    Repo.init(str(root))
    (root / ".dvc/config").write_text(
        f"[core]\n    remote = storage\n['remote \"storage\"']\n    url = {root}/remote\n"
    )
    (root / "cache").mkdir()
    stores = Store(f"file://{root}/.dvc/cache"), Store(f"file://{root}/remote")
    mlflow.set_tracking_uri(f"sqlite:///{root}/mlflow.db")
    mlflow.MlflowClient().create_registered_model("sr-dev")
    return Project(root, load_settings(root / "params.yaml"), stores)
