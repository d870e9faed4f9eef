"""MLflow: model versions, runs and the models that runs logged; the copies of promotions are runs as well.

A version stays that has an alias, that a record of the history names, that a branch or tag registered, or that has the
tag `dp2o.keep`; and with it its files and all that its dvc.lock names. What is in no experiment of this project, and
versions of other registered models, stay whatever they are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from components.cleaning.inventory import Entry, Root
from components.cleaning.revisions import Revisions
from components.cleaning.world import World, lock_digest, md5_name, run_name, version_name
from components.errors import BadInput
from components.registry import ledger, local
from components.registry.history import SUFFIX
from components.registry.tracking import connected, is_server, tracking_uri
from components.registry.trust import trust_of
from components.registry.versions import IDENTITY_TAG, production_name

KEEP_TAG = "dp2o.keep"
LOCK_TAG = "dp2o.dvc_lock"
PROMOTED = "-promoted"
_PAGE = 1000


def model_name(model: str) -> str:
    """Name of a model that a run logged."""
    return f"model:{model}"


@dataclass
class Versions:
    """The project's own registered models and experiments."""

    world: World
    revisions: Revisions
    name: str = "mlflow"
    shared: bool = True

    def roots(self, named: frozenset[str]) -> Iterator[Root]:
        """Every version that stays, with all that it was made of, and every record of the history.

        Raises:
            HistoryBroken: nobody knows what the history refers to.
            ResumeLater: the registry is away.
        """
        with self._connected() as client:
            if client is None:
                return
            records = self._records(client)
            yield from records
            kept = named.union(*(record.refers for record in records))
            for version in self._all_versions:
                own = version_name(version.name, version.version)
                if why := self._stays(version, own in kept):
                    yield Root(f"{version.name}/{version.version} ({why})", self._made_of(client, version))

    def entries(self) -> Iterator[Entry]:
        """Versions, runs and logged models."""
        with self._connected() as client:
            if client is None:
                return
            for version in self._own_versions():
                yield self._version(version)
            experiments = self._experiments(client)
            models = [model for one in experiments for model in _pages(client.search_logged_models, [one])]
            models += self._half_gone(client, experiments)
            by_run: dict[str, set[str]] = defaultdict(set)
            for model in models:
                by_run[model.source_run_id or ""].add(model_name(model.model_id))
                changed = max(model.creation_timestamp, model.last_updated_timestamp) / 1000
                yield self._entry("model", model.model_id, model.artifact_location, "models of runs", changed,
                                  names=frozenset({model_name(model.model_id)}))  # fmt: skip
            for run in self._runs(client, experiments):
                info = run.info
                changed = max(info.start_time or 0, info.end_time or 0) / 1000
                yield self._entry("run", info.run_id, info.artifact_uri, "runs and their files", changed,
                                  frozenset({run_name(info.run_id)}), frozenset(by_run[info.run_id]))  # fmt: skip

    def sized(self, entry: Entry) -> Entry:
        """With the bytes of its files."""
        kind, _, uri = entry.key.split("|", 2)
        return entry if kind == "version" else replace(entry, size=_bytes_of(uri))

    def remove(self, entries: Sequence[Entry]) -> Iterator[Entry]:
        """Versions first, as they refer to the others. A server's files go when its admin runs `mlflow gc`."""
        with self._connected() as client:
            assert client is not None
            for entry in entries:
                kind, name, uri = entry.key.split("|", 2)
                if kind == "version":
                    model, _, number = name.rpartition("/")
                    client.delete_model_version(model, number)
                elif kind == "model":
                    _gone(client, uri, name, client.delete_logged_model, "_hard_delete_logged_model", self._is_local)
                else:
                    _gone(client, uri, name, client.delete_run, "_hard_delete_run", self._is_local)
                yield entry
        if not self._is_local:
            self.world.notes.append(
                "MLflow's server has marked these runs and models as deleted: their files go when its admin runs "
                "`mlflow gc --older-than 1d` there"
            )

    # ---- below

    def _connected(self) -> AbstractContextManager[Any]:
        """A client; None where there is no registry yet."""
        settings, root = self.world.settings.register_, self.world.root
        database = local.database_file(tracking_uri(settings, root))
        if database is not None and not database.exists():
            return nullcontext(None)
        return connected(settings, root)

    @property
    def _is_local(self) -> bool:
        return not is_server(tracking_uri(self.world.settings.register_, self.world.root))

    @cached_property
    def _names(self) -> tuple[str, ...]:
        own = self.world.settings.register_.model_name
        return tuple(dict.fromkeys((own, production_name(own))))

    @cached_property
    def _all_versions(self) -> list[Any]:
        """Of every registered model of this project's kind, and of any that runs of ours may have been used for."""
        with self._connected() as client:
            aliases = {model.name: model.aliases for model in _pages(client.search_registered_models)}
            found = _pages(client.search_model_versions)
        self._aliases = {(name, str(version)) for name, known in aliases.items() for version in known.values()}
        return [version for version in found if not version.name.endswith(SUFFIX)]

    def _own_versions(self) -> list[Any]:
        return [one for one in self._all_versions if one.name in self._names and IDENTITY_TAG in one.tags]

    def _records(self, client: Any) -> list[Root]:
        """What each record of the history names: both versions, the run with the files, inputs by their md5."""
        settings, root = self.world.settings, self.world.root
        found = []
        for record in ledger.read(client, self._names[-1], trust_of(settings.gate, root)).records:
            content = record.content
            named = {version_name(content.model, content.version), f"version:{content.source}"}
            named |= {version_name(self._names[-1], content.parent)} if content.parent is not None else set()
            named |= {run_name(content.run), *map(md5_name, content.inputs.values())}
            named |= self._locked(client, content.lineage.get(LOCK_TAG, ""), content.run)
            found.append(Root(f"record {record.number} of {self._names[-1]}{SUFFIX}", frozenset(named)))
        return found

    def _stays(self, version: Any, named: bool) -> str:
        """Why a version stays; empty where nothing says so."""
        if version.name not in self._names or IDENTITY_TAG not in version.tags:
            return "of another model"
        if (version.name, str(version.version)) in self._aliases:
            return "it has an alias"
        if named:
            return "a branch, a tag or the history names it"
        if KEEP_TAG in version.tags:
            return f"its tag {KEEP_TAG}"
        return "young" if _changed(version) > self.world.oldest else ""

    def _made_of(self, client: Any, version: Any) -> frozenset[str]:
        named = {version_name(version.name, version.version), *_files_of(version)}
        return frozenset(named) | self._locked(client, version.tags.get(LOCK_TAG, ""), version.run_id or "")

    def _locked(self, client: Any, digest: str, run: str) -> frozenset[str]:
        """What the dvc.lock with this digest names, as git has it, or else the run; nothing where nobody has it."""
        if not digest or digest == "unknown":
            return frozenset()
        text = self.revisions.locks.get(digest) or _lock_of_run(client, run, digest)
        if text is None:
            self.world.notes.append(
                f"the dvc.lock {digest[:12]} of a version that stays is neither in git nor in its run: what it was "
                "made of cannot be told from the rest"
            )
            return frozenset()
        return self.world.named_by_lock(text, f"dvc.lock {digest[:12]}")

    def _experiments(self, client: Any) -> list[str]:
        settings = self.world.settings.register_
        known = (client.get_experiment_by_name(name) for name in (settings.experiment, settings.experiment + PROMOTED))
        return [str(one.experiment_id) for one in known if one is not None]

    def _runs(self, client: Any, experiments: list[str]) -> list[Any]:
        """Those that are there; in a local database also those that were marked as deleted, whose files are there."""
        from mlflow.entities import ViewType  # noqa: PLC0415

        view = ViewType.ALL if self._is_local else ViewType.ACTIVE_ONLY
        return _pages(client.search_runs, experiments, run_view_type=view) if experiments else []

    def _half_gone(self, client: Any, experiments: list[str]) -> list[Any]:
        """Logged models that were marked as deleted, whose files are there: what an interrupted removal left."""
        store = client._tracking_client.store
        if not self._is_local or not hasattr(store, "_get_deleted_logged_models"):
            return []
        found = (store.get_logged_model(one, allow_deleted=True) for one in store._get_deleted_logged_models())
        return [model for model in found if str(model.experiment_id) in experiments]

    def _version(self, version: Any) -> Entry:
        own = version_name(version.name, version.version)
        key = f"version|{version.name}/{version.version}|"
        return Entry(self.name, key, f"mlflow: versions of {version.name}",
                     "it has no alias, and neither history, branch nor tag names it", _changed(version),
                     frozenset({own}), frozenset(_files_of(version)))  # fmt: skip

    def _entry(
        self, kind: str, own: str, uri: str, group: str, changed: float, names: frozenset[str],
        refers: frozenset[str] = frozenset(),
    ) -> Entry:  # fmt: skip
        why = "no version that is kept has its files"
        return Entry(self.name, f"{kind}|{own}|{uri}", f"mlflow: {group}", why, changed, names, refers)


def _files_of(version: Any) -> set[str]:
    """Names of the run and of the logged model that have a version's files."""
    model = getattr(version, "model_id", None) or ""
    if not model and str(version.source).startswith("models:/m-"):
        model = str(version.source).removeprefix("models:/")
    return {run_name(version.run_id or ""), model_name(model)}


def _changed(version: Any) -> float:
    return float(max(version.creation_timestamp or 0, version.last_updated_timestamp or 0)) / 1000


def _lock_of_run(client: Any, run: str, digest: str) -> str | None:
    """The dvc.lock among a run's files, if it is the one with that digest."""
    import tempfile  # noqa: PLC0415

    from mlflow.exceptions import MlflowException  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        try:
            text = Path(client.download_artifacts(run, "dvc.lock", folder)).read_text()
        except (MlflowException, OSError):
            return None
    return text if lock_digest(text) == digest else None


def _gone(client: Any, uri: str, name: str, mark: Callable[[str], None], hard: str, is_local: bool) -> None:
    """Mark as deleted; in a local database also do what `mlflow gc` does: files first, the entry last."""
    from mlflow.exceptions import MlflowException  # noqa: PLC0415
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository  # noqa: PLC0415

    try:
        mark(name)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "INVALID_STATE"):
            raise
    if not is_local:
        return
    store = client._tracking_client.store
    if not hasattr(store, hard):
        raise BadInput(f"MLflow at this place cannot remove {name}: use a database, or run `mlflow gc`")
    get_artifact_repository(uri).delete_artifacts()
    getattr(store, hard)(name)


def _bytes_of(uri: str) -> int:
    """Bytes of the files at a URI of artifacts; 0 where they cannot be listed."""
    from mlflow.exceptions import MlflowException  # noqa: PLC0415
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository  # noqa: PLC0415

    repository = get_artifact_repository(uri)

    def below(path: str | None) -> int:
        return sum(below(file.path) if file.is_dir else int(file.file_size or 0)
                   for file in repository.list_artifacts(path))  # fmt: skip

    try:
        return below(None)
    except (MlflowException, OSError):
        return 0


def _pages(search: Callable[..., Any], *arguments: Any, **named: Any) -> list[Any]:
    """All pages of a search of MLflow's."""
    found: list[Any] = []
    token = None
    while True:
        page = search(*arguments, page_token=token, **named)
        found += page
        token = page.token
        if not token:
            return found
