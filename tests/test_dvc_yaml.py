"""dvc.yaml against the import graph: what can change a stage's result makes it run again, and nothing else does."""

import ast
from functools import cache
from pathlib import Path
from typing import Any

import grimp
import pytest
import yaml

from components.pipeline.files import secrets
from components.settings import Settings
from components.stages import STAGES
from tests.made import REPOSITORY

NEVER_CHANGE_A_RESULT = {
    "components": "it is empty",
    "components.runtime.allocator": "memory, never what is in it",
    "components.cli": "another way to start a stage",
    "components.entry.main": "starts a stage",
    "components.errors": "a stage that fails publishes nothing",
    "components.failpoints": "where tests cut work off",
    "components.interruption": "a stage that is stopped publishes nothing",
    "components.stages.invocation": "the command line of a stage",
    "components.pipeline.status": "what is out of date",
    "components.stages.preflight": "refuses what would fail",
    "components.pipeline.files": "warns of folders that dvc.yaml does not name",
    "components.redaction": "what is told, never what is made",
    "components.runtime.process": "device and threads: the last bits at most, which another machine changes as well",
    "components.template": "where params.yaml and the like are, which a stage does not read",
    "components.progress": "what a person sees meanwhile",
    "components.settings": "a block's own file is named instead, by `params`",
    "components.entry.start": "starts a stage",
    "components.stages": "names of stages",
    "components.task": "where a stage runs, never what it does",
    "components.runtime.workers": "how many processes work, which changes no byte",
}
"""With what they import themselves: a module that matters is imported by one that matters as well."""

ASKED_EARLY = {
    ("components.generate.stage", "components.metrics.weights"): "refuses at once what score would refuse in an hour",
}
"""Single imports that change no result."""

IMPORTED_BY_NAME = {
    "components.backbones.loading": "components.backbones",
    "components.metrics.base": "components.metrics",
    "components.photos.decoder": "components.photos",
}
"""Modules that import others by a name that settings give, and from where."""

IMPORTS_FAMILIES = "components.settings.families"
"""Imports for `backbones.loading`, and for the plan, which is no stage."""

IMPORTS_WHAT_USERS_BRING = "components.settings.part"
"""Their files are no part of this project: CONTRIBUTING.md says that they name them in dvc.yaml."""

READ_WITHOUT_EFFECT = {
    "run": "where and how, never what",
    ("generate", "score"): "whether all weights of the metrics are there",
    ("evaluate", "generate"): "the batch of a network call",
}
"""Blocks of params.yaml, of any stage or of one, that a stage reads and does not depend on."""

Pipeline = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    stages: Pipeline = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"]
    assert list(stages) == list(STAGES)
    return stages


@cache
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("components", cache_dir=None)


def modules_of(package: str) -> set[str]:
    return {package, *graph().find_descendants(package)}


def determining(stage: str) -> set[str]:
    """All modules that can change what the stage makes."""
    found: set[str] = set()
    waiting = list(modules_of(f"components.{stage}"))
    while waiting:
        module = waiting.pop()
        if module in found or any(module in (name, *_packages(module, name)) for name in NEVER_CHANGE_A_RESULT):
            continue
        found.add(module)
        imported = graph().find_modules_directly_imported_by(module)
        waiting += [other for other in imported if (module, other) not in ASKED_EARLY]
        waiting += modules_of(IMPORTED_BY_NAME[module]) if module in IMPORTED_BY_NAME else []
    return found


def _packages(module: str, name: str) -> list[str]:
    """`module` itself where it lies in the package `name`; the empty package of all is none."""
    return [module] if name != "components" and module.startswith(f"{name}.") else []


def blocks(params: list[str]) -> set[str]:
    """Modules of the settings that these parameters are read by."""
    found: set[str] = set()
    waiting = [f"components.settings.{name.split('.')[0]}" for name in params]
    while waiting:
        module = waiting.pop()
        if module not in found and module.startswith("components.settings."):
            found.add(module)
            waiting += graph().find_modules_directly_imported_by(module)
    return found


def file_of(module: str) -> Path:
    path = Path(*module.split("."))
    return path / "__init__.py" if (REPOSITORY / path).is_dir() else path.with_suffix(".py")


def covers(dependency: str, module: str) -> bool:
    file = file_of(module)
    return Path(dependency) == file or Path(dependency) in file.parents


@pytest.mark.parametrize("stage", STAGES)
def test_all_code_that_can_change_a_result_is_a_dependency(stage: str, pipeline: Pipeline) -> None:
    named = pipeline[stage]["deps"]
    wanted = determining(stage) | blocks(pipeline[stage]["params"])
    assert len(wanted) > 10
    lacking = sorted(module for module in wanted if not any(covers(dependency, module) for dependency in named))
    assert lacking == [], f"dvc.yaml: {stage} imports these, and would not run again when they change"


@pytest.mark.parametrize("stage", STAGES)
def test_no_dependency_is_in_vain(stage: str, pipeline: Pipeline) -> None:
    wanted = determining(stage) | blocks(pipeline[stage]["params"])
    code = [dependency for dependency in pipeline[stage]["deps"] if dependency.startswith("components/")]
    idle = [dependency for dependency in code if not any(covers(dependency, module) for module in wanted)]
    assert idle == [], f"dvc.yaml: {stage} runs again when these change, and imports nothing of them"


def blocks_read(package: Path) -> set[str]:
    """Blocks of params.yaml that code takes from `settings`, or all where it takes them together."""
    names = {name: field.alias or name for name, field in Settings.model_fields.items()}
    found: set[str] = set()
    for file in package.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.Attribute):
                continue
            owner = node.value.id if isinstance(node.value, ast.Name) else getattr(node.value, "attr", "")
            if owner.lstrip("_") == "settings" and node.attr in names:
                found.add(names[node.attr])
    return found


@pytest.mark.parametrize("stage", STAGES)
def test_what_a_stage_reads_of_the_settings_is_a_parameter_of_it(stage: str, pipeline: Pipeline) -> None:
    read = blocks_read(REPOSITORY / "components" / stage)
    assert stage in read
    watched = {name.split(".")[0] for name in pipeline[stage]["params"]}
    unwatched = {name for name in read if name not in READ_WITHOUT_EFFECT and (stage, name) not in READ_WITHOUT_EFFECT}
    assert unwatched <= watched


def test_a_registration_depends_on_all_settings_of_its_identity(pipeline: Pipeline) -> None:
    from components.register.lineage import NOT_OF_THE_MODEL  # noqa: PLC0415  # mlflow takes seconds

    names = {field.alias or name for name, field in Settings.model_fields.items()}
    assert {name.split(".")[0] for name in pipeline["register"]["params"]} == (names - NOT_OF_THE_MODEL) | {"register"}


def test_no_secret_is_a_parameter_that_the_lock_would_have(pipeline: Pipeline) -> None:
    secret = {f"{block}.{key}" for block, key in secrets()}
    assert "register.webhook" in secret
    named = {name for stage in pipeline.values() for name in stage.get("params", [])}
    assert not named & (secret | {name.split(".")[0] for name in secret})


def test_every_import_by_name_is_known() -> None:
    found = {
        ".".join(file.relative_to(REPOSITORY).with_suffix("").parts)
        for file in (REPOSITORY / "components").rglob("*.py")
        if "import_module(" in file.read_text()
    }
    importing = {*IMPORTED_BY_NAME, IMPORTS_FAMILIES} - {"components.backbones.loading"}
    assert found == {*importing, IMPORTS_WHAT_USERS_BRING, "components.entry.main"}


def test_every_exception_exists() -> None:
    assert set(NEVER_CHANGE_A_RESULT) <= graph().modules
    for importer, imported in ASKED_EARLY:
        assert imported in graph().find_modules_directly_imported_by(importer)
