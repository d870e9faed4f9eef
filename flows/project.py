"""A DVC project as a flow sees it: what is out of date, what a stage needs, and how what it made is recorded.

Nothing here reads or writes an image: dependencies that other stages make are known by the hashes in dvc.lock, and
outputs by what the tasks say they made. What is recorded is what `dvc repro` would have recorded.
"""

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import networkx
from dvc.dependency import ParamsDependency
from dvc.output import Output
from dvc.repo import Repo
from dvc.stage import PipelineStage
from dvc_data.hashfile.hash_info import HashInfo
from dvc_data.hashfile.meta import Meta
from dvc_data.hashfile.tree import Tree

from components.errors import BadInput
from components.pipeline.files import photo_folders, shareable_params
from components.settings import Settings, load_settings
from components.storage.dvc_hash import dvc_md5
from components.storage.dvc_inputs import hash_what_can_be_read
from components.storage.publish import atomic_file
from components.storage.store import Content, Store
from components.task.document import Input, Task
from flows import sums

logger = logging.getLogger("dp2o.flows")

_COMMAND = re.compile(r"python -m components\.(\w+)")
COMMIT_RECORDED = frozenset({"register"})
"""Stages that record the commit and dvc.lock themselves."""


@dataclass(frozen=True)
class Commit:
    """Of the code: its hash, and whether files differ from it."""

    sha: str = ""
    dirty: bool = False


NO_COMMIT = Commit()
"""Outside git."""


class Project:
    """The project in `root`, with the data of its stages anywhere.

    Raises:
        BadInput: there is no DVC project, its pipeline cannot be read, or a stage runs something else than a component.
    """

    def __init__(self, root: Path) -> None:
        from dvc.exceptions import DvcException, NotDvcRepoError  # noqa: PLC0415

        self.root = root.resolve()
        hash_what_can_be_read()
        try:
            self._repo = Repo(str(self.root))
            self._all = list(self._repo.index.stages)
            self._order = self._sorted()
        except NotDvcRepoError as error:
            raise BadInput(f"{root} is no DVC project: `git init && dvc init` there, or name another folder") from error
        except DvcException as error:
            raise BadInput(f"the pipeline in {root} cannot be read: {error}") from error
        self.settings: Settings = load_settings(self.root / "params.yaml")

    @property
    def stages(self) -> list[str]:
        """Names of the pipeline's stages, each after those it depends on; of equals, the first in dvc.yaml first."""
        return [stage.name for stage in self._order]

    # ---- what is out of date

    def stale(self, name: str) -> str:
        """Why a stage must run, for people; empty where it is up to date."""
        return next(self._reasons(self._stage(name)), "")

    def _reasons(self, stage: PipelineStage) -> Iterator[str]:
        if not any(output.hash_info for output in stage.outs):
            yield "it never ran"
        if stage.changed_stage():
            yield "its command changed"
        for dependency in stage.deps:
            if isinstance(dependency, ParamsDependency):
                changed = dependency.status()
                if changed:
                    yield f"parameters changed: {', '.join(_keys(changed))}"
                continue
            producer = self._producer(dependency)
            if producer is None:
                if dependency.status():
                    yield f"{dependency.def_path} changed"
            elif dependency.hash_info != producer.hash_info:
                yield f"{dependency.def_path} changed"
        for output in stage.outs:
            if not output.hash_info:
                yield f"{output.def_path} was never made"
            elif output.exists and output.changed_checksum():
                yield f"{output.def_path} was changed by hand"
            elif not output.use_cache and not output.exists:
                yield f"{output.def_path} is missing, and it is kept in git"

    def producer(self, path: str) -> str | None:
        """Name of the stage that makes what lies at `path`, None for what no stage makes."""
        for stage in self._order:
            for output in stage.outs:
                if path == output.def_path or path.startswith(f"{output.def_path}/"):
                    return str(stage.name)
        return None

    # ---- what a stage needs

    def task(self, name: str, store_url: str, commit: Commit = NO_COMMIT) -> Task:
        """All that determines what the stage makes.

        Raises:
            BadInput: its command is no component's, or an earlier stage is not recorded.
        """
        stage = self._stage(name)
        match = _COMMAND.fullmatch(str(stage.cmd))
        if not match:
            raise BadInput(f"stage {name} runs `{stage.cmd}`: a flow runs `python -m components.<stage>`, nothing else")
        records = name in COMMIT_RECORDED
        lock = self.root / "dvc.lock"
        return Task(
            stage=match[1],
            store=store_url,
            params=shareable_params(self.root),
            inputs=sorted([*self._inputs(stage), *self._named_by_settings(stage)], key=lambda entry: entry.path),
            outputs=sorted(output.def_path for output in stage.outs),
            lock=lock.read_text() if records and lock.is_file() else "",
            commit=commit.sha if records else "",
            dirty=commit.dirty and records,
        )

    def _inputs(self, stage: PipelineStage) -> list[Input]:
        found = []
        for dependency in stage.deps:
            if isinstance(dependency, ParamsDependency):
                continue
            producer = self._producer(dependency)
            if producer is None:
                dependency.save()
            known = dependency if producer is None else producer
            md5, size = known.hash_info.value, known.meta.size
            if not md5:
                raise BadInput(f"{stage.name} needs {dependency.def_path}, which is not recorded: run its stage first")
            origin: Literal["image", "store"] = "image" if producer is None else "store"
            entry = Input(path=dependency.def_path, md5=md5, size=size or 0, origin=origin)
            found.append(sums.with_sums(self.root, entry))
        return found

    def _named_by_settings(self, stage: PipelineStage) -> list[Input]:
        """What settings name and dvc.yaml does not: photos and a captioner for prepare, models for who loads one."""
        named: list[Path] = []
        if stage.name == "prepare":
            named += [*photo_folders(self.settings.prepare), *self._captioner()]
        if any("backbone" in dep.params for dep in stage.deps if isinstance(dep, ParamsDependency)):
            named += self.settings.backbone.files
        return self._at(named, [dependency.def_path for dependency in stage.deps])

    def models(self) -> list[Input]:
        """What a registered model of these settings is built from beside its own files, and what it was trained from:
        for work that is none of the pipeline's stages."""
        return self._at([*self.settings.backbone.files, *self._captioner()])

    def frozen_models(self) -> list[Input]:
        """The same without what it was trained from."""
        backbone = self.settings.backbone
        return self._at([path for path in backbone.files if path != backbone.path])

    def _captioner(self) -> list[Path]:
        model = self.settings.prepare.prompt.model
        return [] if model is None else [model]

    def _at(self, named: Sequence[Path], listed: Sequence[str] = ()) -> list[Input]:
        """Inputs that lie at these paths, those in one of `listed` left out.

        Paths from outside the project and hub ids stay as they are: they must be where the work runs.
        """
        found = []
        for folder in dict.fromkeys(path.as_posix() for path in named if not path.is_absolute()):
            if any(folder == path or folder.startswith(f"{path}/") for path in listed):
                continue
            place = str(self.root / folder)  # an output's own path is relative to its .dvc file
            tracked = next((out for source in self._sources for out in source.outs if out.fs_path == place), None)
            if tracked is not None and tracked.hash_info:
                size = tracked.meta.size or 0
                entry = Input(path=folder, md5=tracked.hash_info.value, size=size, origin="store")
                found.append(sums.with_sums(self.root, entry))
            elif (self.root / folder).exists():
                found.append(Input(path=folder, md5=dvc_md5(self.root / folder), size=0, origin="image"))
        return found

    # ---- what a stage made

    def record(self, name: str, files: dict[str, Content], store: Store) -> None:
        """Write into dvc.lock what the stage depended on and made; files kept in git are brought into the work tree.

        Args:
            files: contents by path relative to the root, of all the stage's outputs.

        Raises:
            BadInput: an output is not among them.
        """
        stage = self._stage(name)
        for dependency in stage.deps:
            producer = None if isinstance(dependency, ParamsDependency) else self._producer(dependency)
            if producer is None:
                dependency.save()
            else:
                dependency.hash_info, dependency.meta = producer.hash_info, producer.meta
        for output in stage.outs:
            output.hash_info, output.meta = self._recorded(output, files, store)
            (self.root / output.def_path).parent.mkdir(parents=True, exist_ok=True)  # of a .gitignore
            if not output.use_cache:
                with atomic_file(self.root / output.def_path) as temporary:
                    made = files[output.def_path]
                    temporary.write_bytes(store.read_object(made.md5, made.sha256))
        stage.md5 = stage.compute_md5()
        stage.ignore_outs()
        stage.dvcfile.dump(stage, update_pipeline=False)

    def _recorded(self, output: Output, files: dict[str, Content], store: Store) -> tuple[HashInfo, Meta]:
        path = output.def_path
        if path in files:
            sums.record(self.root, path, files[path].md5, {sums.ITSELF: files[path]})
            return HashInfo("md5", files[path].md5), Meta(size=files[path].size)
        inside = {name.removeprefix(f"{path}/"): made for name, made in files.items() if name.startswith(f"{path}/")}
        if not inside:
            raise BadInput(f"stage {output.stage.name} made no {path}, which dvc.yaml says it makes")
        tree = Tree()
        for name, made in inside.items():
            tree.add(tuple(name.split("/")), Meta(size=made.size), HashInfo("md5", made.md5))
        tree.digest()
        store.keep_bytes(tree.as_bytes(), ".dir")
        sums.record(self.root, path, tree.hash_info.value, inside)
        size = sum(made.size for made in inside.values())
        return tree.hash_info, Meta(size=size, nfiles=len(inside), isdir=True)

    def check_out(self, names: list[str]) -> None:
        """Bring the outputs of these stages from DVC's own cache into the work tree."""
        self._repo.checkout(targets=names, force=True, allow_missing=True)

    def written(self) -> list[str]:
        """Files that recording wrote and git should have: the lock, lists of what git ignores, small reports."""
        kept = [output.def_path for stage in self._order for output in stage.outs if not output.use_cache]
        ignores = [path.relative_to(self.root).as_posix() for path in self.root.rglob(".gitignore")
                   if ".venv" not in path.parts]  # fmt: skip
        return [path for path in ["dvc.lock", sums.FILE, *kept, *ignores] if (self.root / path).is_file()]

    def remote_url(self) -> str | None:
        """URL of DVC's default remote; a setting of its endpoint goes to AWS_ENDPOINT_URL, where it is not set."""
        import os  # noqa: PLC0415

        name = self._repo.config["core"].get("remote")
        if not name:
            return None
        remote: dict[str, Any] = self._repo.config["remote"][name]
        if remote.get("endpointurl"):
            os.environ.setdefault("AWS_ENDPOINT_URL", remote["endpointurl"])
        url = str(remote["url"])
        return url if "://" in url else f"file://{Path(url).resolve()}"

    @property
    def cache_url(self) -> str:
        """DVC's cache on this machine, which has the layout of a remote."""
        return f"file://{Path(self._repo.cache.local.path).parents[1]}"

    # ---- below

    def _sorted(self) -> list[PipelineStage]:
        place = {id(stage): number for number, stage in enumerate(self._all)}
        upwards = self._repo.index.graph.reverse(copy=True)
        ordered = networkx.lexicographical_topological_sort(upwards, key=lambda stage: place.get(id(stage), 0))
        return [stage for stage in ordered if isinstance(stage, PipelineStage)]

    @cached_property
    def _sources(self) -> list[Any]:
        """What `dvc add` tracks."""
        return [stage for stage in self._all if not isinstance(stage, PipelineStage)]

    def _stage(self, name: str) -> PipelineStage:
        for stage in self._order:
            if stage.name == name:
                return stage
        raise BadInput(f"dvc.yaml has no stage {name}; it has {', '.join(self.stages)}")

    def _producer(self, dependency: Output) -> Output | None:
        """The output, of a stage or of `dvc add`, that a dependency is."""
        for stage in [*self._order, *self._sources]:
            for output in stage.outs:
                if output.fs_path == dependency.fs_path:
                    return output
        return None


def _keys(status: dict[str, Any]) -> list[str]:
    return [key for values in status.values() for key in (values if isinstance(values, dict) else [str(values)])]
