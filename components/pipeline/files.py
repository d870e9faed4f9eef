"""params.yaml and dvc.yaml as a program edits them: comments and quotes stay.

dvc.yaml cannot say "the folders that params.yaml names": DVC's templates put in words, not lists. So what settings name
is added to it where it is not there yet; otherwise a photo that comes into such a folder would go unnoticed, and so
would a change in a part of the method that the user brought.
"""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import SecretStr

from components.artifacts.lock import Lock
from components.errors import BadInput
from components.settings import Part, PrepareSettings, Settings, load_settings
from components.settings.families import is_own
from components.settings.prepare import PHOTO_SETTINGS
from components.storage.dvc_inputs import is_utf8, linked_folders
from components.storage.publish import write_text

USES_BASE = ("generate", "train", "evaluate")
"""Stages that load the base model."""
USES_FAMILY = (*USES_BASE, "register")
"""Stages that run the code of its family."""
OF_ROUNDS = ("rounds", "generate", "score", "pair")
"""Code that train runs beside its own where it has several rounds."""
CODE = "components"
"""Of this project: code that is missing is DVC's to say."""


def photo_folders(prepare: PrepareSettings) -> list[Path]:
    """All folders that prepare reads, each once."""
    return list(dict.fromkeys(folder for _, folder in prepare.folders))


def untracked_folders(settings: Settings, root: Path) -> list[tuple[str, str]]:
    """(stage, path) of what settings name and dvc.yaml does not: DVC would not notice when it changes.

    What is not there, and models of the hub, are left out: the stage says what is wrong with them.

    Raises:
        BadInput: dvc.yaml is missing or damaged.
    """
    depends = {name: stage.depends for name, stage in _read_stages(root).items()}
    return list(
        dict.fromkeys(
            (stage, folder.as_posix())
            for stage, folder in _named(settings, root)
            if stage in depends and (root / folder).exists() and not _covered(folder, depends[stage], root)
        )
    )


def gone(settings: Settings, root: Path) -> list[tuple[str, str]]:
    """(stage, path) of what dvc.yaml names as an input and nothing needs any more: DVC would look for it in vain.

    That is what is not there, is no other stage's output, and lies neither in this project's code nor in what settings
    name; and folders of photos that the settings of the last run named, and those of now do not, there or not.

    Raises:
        BadInput: dvc.yaml or dvc.lock is missing or damaged.
    """
    stages = _read_stages(root)
    made = [output for stage in stages.values() for output in stage.outputs]
    named = [(stage, folder) for stage, folder in _named(settings, root)]
    before = _photo_folders_before(root)

    def is_gone(stage: str, path: str) -> bool:
        if any(stage == one and (folder == Path(path) or Path(path) in folder.parents) for one, folder in named):
            return False
        if stage == "prepare" and path in before:
            return True
        return not (root / path).exists() and not _covered(Path(path), [*made, CODE], root)

    return [(name, path) for name, stage in stages.items() for path in stage.depends if is_gone(name, path)]


@dataclass(frozen=True)
class _Stage:
    """A stage of dvc.yaml: paths that it depends on, and that it makes."""

    depends: list[str]
    outputs: list[str]


def _read_stages(root: Path) -> dict[str, _Stage]:
    file = root / "dvc.yaml"
    try:
        stages = yaml.safe_load(file.read_text())["stages"]
        return {
            name: _Stage([str(path) for path in stage.get("deps") or []], [_path_of(out) for out in _outputs(stage)])
            for name, stage in stages.items()
        }
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"{file} describes no pipeline ({error}): restore it with git") from error


def _outputs(stage: dict[str, Any]) -> list[Any]:
    return [out for kind in ("outs", "metrics", "plots") for out in stage.get(kind) or []]


def _path_of(output: Any) -> str:
    """An output is a path, or a path with its options."""
    return str(next(iter(output))) if isinstance(output, dict) else str(output)


def _photo_folders_before(root: Path) -> set[str]:
    """What the settings of the last run named, as dvc.lock keeps them."""
    file = root / "dvc.lock"
    if not file.is_file():
        return set()
    try:
        params = yaml.safe_load(file.read_text())["stages"].get("prepare", {}).get("params", {})
        prepare = params.get("params.yaml", {}).get("prepare", {})
        paths = [path for key in PHOTO_SETTINGS for path in prepare.get(key) or []]
        paths += [both[side] for both in prepare.get("pairs") or [] for side in ("lr", "hr")]
        return {Path(path).as_posix() for path in paths}
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"{file} is damaged ({error}): restore it with git") from error


def _named(settings: Settings, root: Path) -> list[tuple[str, Path]]:
    """(stage, path) of what settings name."""
    captioner, family = settings.prepare.prompt.model, settings.backbone.family
    return [
        *(("prepare", folder) for named in photo_folders(settings.prepare) for folder in _with_linked(named, root)),
        *(("prepare", folder) for folder in (captioner,) if folder is not None),
        *((stage, path) for path in settings.backbone.files for stage in USES_BASE),
        *(("pair", file) for file in (settings.pair.builder.votes_file,) if file is not None),
        *((stage, _code_of(family, root)) for stage in USES_FAMILY if is_own(family)),
        *((stage, _code_of(part.kind, root)) for stage, part in _parts(settings) if part.is_custom),
        *(("train", Path(CODE, name)) for name in OF_ROUNDS if settings.train.rounds > 1),
        *((stage, _code_of(name, root)) for stage, name in _metrics(settings) if ":" in name),
    ]


def _parts(settings: Settings) -> list[tuple[str, Part]]:
    """(stage, part) of all parts of the method, chosen or brought."""
    pair = settings.pair
    return [
        *(("pair", part) for part in (pair.builder, pair.scalariser, *pair.filters)),
        ("train", settings.train.objective),
    ]


def _metrics(settings: Settings) -> list[tuple[str, str]]:
    """(stage, metric) of all metrics whose code can change what a stage makes."""
    score, train = settings.score, settings.train
    rewarded = [*score.fr, *score.nr]
    return [
        *((stage, name) for stage in ("score", "evaluate") for name in score.all_metrics),
        *(("pair", name) for name in rewarded),
        *(("train", name) for name in dict.fromkeys([*rewarded, *train.source.metrics])),
    ]


def _code_of(kind: str, root: Path) -> Path:
    """Where `package.module:NAME` is written: the module's folder, or the file of a module that lies beside dvc.yaml.

    What an installed package has is no file of the project, and this path is then not there.
    """
    *folders, module = kind.partition(":")[0].split(".")
    if folders:
        return Path(*folders)
    return Path(module) if (root / module).is_dir() else Path(f"{module}.py")


def _with_linked(folder: Path, root: Path) -> list[Path]:
    """A folder of photos, and the links to folders in it, which DVC does not follow of itself.

    One with a name that is no UTF-8 is left out: no YAML can name it.
    """
    linked = [folder / link.relative_to(root / folder) for link in linked_folders(root / folder)]
    return [folder, *(link for link in linked if is_utf8(link))]


def _covered(folder: Path, paths: list[str], root: Path) -> bool:
    """Whether DVC, which depends on `paths`, looks into `folder`: it does not through a link to a folder."""
    outer = [folder, *folder.parents]
    unlinked = next((place for place, one in enumerate(outer) if (root / one).is_symlink()), len(outer))
    return any(Path(path) in outer[: unlinked + 1] for path in paths)


def follow_settings(root: Path) -> list[str]:
    """Let dvc.yaml depend on what params.yaml names, and on nothing that it names no more; what changed, in words.

    Where one of the two is not there, there is nothing to follow, and DVC says so.

    Raises:
        BadInput: one of the two files is damaged.
    """
    if not all((root / name).is_file() for name in ("params.yaml", "dvc.yaml")):
        return []
    settings = load_settings(root / "params.yaml")
    added, removed = untracked_folders(settings, root), gone(settings, root)
    for stage, path in added:
        add_dependency(root, path, (stage,))
    if removed:
        editor, document = _edited(root / "dvc.yaml")
        for stage, path in removed:
            document["stages"][stage]["deps"].remove(path)
        _written(root, root / "dvc.yaml", editor, document)
        _forget_photos(root, [path for stage, path in removed if stage == "prepare"])
    return [
        *(f"{stage} depends on {path} now, as params.yaml names it" for stage, path in added),
        *(f"{stage} depends on {path} no more, as params.yaml names it no more" for stage, path in removed),
    ]


def _forget_photos(root: Path, removed: list[str]) -> None:
    """Let prepare run again where photos came through a link that is gone: DVC asks of present dependencies alone.

    Where settings changed as well, DVC sees that anyway.
    """
    file = root / "dvc.lock"
    lock = Lock.parse(file.read_text(), file) if file.is_file() else Lock({})
    if any(item.path in removed for step in lock.steps if step.stage == "prepare" for item in step.inputs):
        writer, document = _edited(file)
        del document["stages"]["prepare"]
        _written(root, file, writer, document)


def add_dependency(root: Path, path: str, stages: tuple[str, ...]) -> list[str]:
    """Let stages of dvc.yaml depend on `path`; the files that changed, none where they do already.

    dvc.yaml of a project without new images does not name them: what is named must be there.
    """
    file = root / "dvc.yaml"
    writer, document = _edited(file)
    missing = [name for name in stages if path not in document["stages"][name]["deps"]]
    for name in missing:
        document["stages"][name]["deps"].append(path)
    return _written(root, file, writer, document) if missing else []


def set_param(root: Path, block: str, key: str, value: Any) -> list[str]:
    """Set one key of params.yaml, comments kept; the files that changed."""
    file = root / "params.yaml"
    writer, document = _edited(file)
    if document[block].get(key) == value:
        return []
    document[block][key] = value
    return _written(root, file, writer, document)


def editor() -> Any:
    """Reads and writes YAML with its comments and quotes."""
    from ruamel.yaml import YAML  # noqa: PLC0415 - who only asks needs none of it

    found = YAML()
    found.preserve_quotes = True
    found.width = 4096
    found.indent(mapping=2, sequence=4, offset=2)
    found.representer.add_representer(type(None), _as_null)
    return found


def _as_null(representer: Any, _: None) -> Any:
    """As people write it: by default nothing is written, and a comment stands where the value was."""
    return representer.represent_scalar("tag:yaml.org,2002:null", "null")


def shareable_params(root: Path) -> str:
    """Text of params.yaml as others may have it: a secret in it is left empty, and everything else is as it is.

    Whoever runs a stage elsewhere gets secrets from the environment.
    """
    file = root / "params.yaml"
    text = file.read_text()
    values = yaml.safe_load(text)
    found = [(block, key) for block, key in secrets() if isinstance(values.get(block), dict) and values[block].get(key)]
    if not found:
        return text
    writer, document = _edited(file)
    for block, key in found:
        document[block][key] = ""
    return _dumped(writer, document)


def secrets() -> list[tuple[str, str]]:
    """(block, key) of the settings of a secret type."""
    found = []
    for name, field in Settings.model_fields.items():
        inner = getattr(field.annotation, "model_fields", {})
        found += [(field.alias or name, key) for key, one in inner.items() if one.annotation is SecretStr]
    return found


def _edited(file: Path) -> tuple[Any, Any]:
    found = editor()
    return found, found.load(file.read_text())


def _written(root: Path, file: Path, writer: Any, document: Any) -> list[str]:
    write_text(file, _dumped(writer, document))
    return [file.relative_to(root).as_posix()]


def _dumped(writer: Any, document: Any) -> str:
    buffer = io.StringIO()
    writer.dump(document, buffer)
    return buffer.getvalue()
