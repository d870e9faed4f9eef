"""What `dp2o run` looks at before the first stage works: folders, model, metrics, peers and device of what will run."""

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from components.backbones.loading import saved_digests
from components.errors import BadInput
from components.evaluate.peers import peer_digest
from components.metrics.weights import required
from components.photos.folder import any_photo
from components.pipeline.status import status_of
from components.runtime.process import resolve_device
from components.settings import Settings, load_settings
from components.settings.agreement import tracking_problem
from components.storage import hub


def check_run(root: Path, named: Sequence[str], force: bool = False, single: bool = False) -> None:
    """Refuse a run that would fail after a stage or more.

    Args:
        named: stages to bring up to date, with those that they need; all where none is named.
        force: whether they run even if they are up to date.
        single: whether only the named ones run.

    Raises:
        BadInput: with all that is in the way.
    """
    if not all((root / name).is_file() for name in ("params.yaml", "dvc.yaml")):
        return  # DVC says so
    settings = load_settings(root / "params.yaml")
    status = status_of(root)
    chosen = status.stages
    if named:
        last = max((chosen.index(name) for name in named if name in chosen), default=-1)
        chosen = tuple(name for name in chosen[: last + 1] if not single or name in named)
    stale = [number for number, name in enumerate(chosen) if force or name in status.out_of_date]
    running = chosen[min(stale) :] if stale else ()  # what follows a stage that runs may run as well
    problems = [text for name in running for check in CHECKS.get(name, ()) for text in check(settings, root)]
    if problems:
        raise BadInput("\n".join(["before any stage began:", *dict.fromkeys(f"  {problem}" for problem in problems)]))


def _photos(settings: Settings, root: Path) -> Iterator[str]:
    for setting, folder in settings.prepare.folders:
        if not (root / folder).is_dir():
            yield f"prepare.{setting}: {root / folder} is not a folder; name one that holds photos"
        elif not any_photo(root / folder):
            yield f"prepare.{setting}: {root / folder} holds no photo; put some in, or name another folder"


def _model(settings: Settings, root: Path) -> Iterator[str]:
    located = settings.backbone.located(root)
    places = (("backbone.path", located.path, False), ("backbone.base", located.base_model, True))
    lacking = [text for setting, place, pipeline in places if place for text in _place(setting, place, pipeline)]
    yield from lacking or _refusal_of(lambda: saved_digests(settings, root))


def _captioner(settings: Settings, root: Path) -> Iterator[str]:
    if (model := settings.prepare.prompt.model) is not None:
        yield from _place("prepare.prompt.model", hub.source(model, root), pipeline=False)


def _place(setting: str, place: Path, pipeline: bool) -> Iterator[str]:
    """What is wrong with where a model is: a path, or in the cache of the hub's models."""
    if not hub.is_hub(place) and not place.exists():
        yield f"{setting}: {place} does not exist; set it to a model that is there"
    yield from _refusal_of(partial(hub.folder, place, setting, pipeline))


def _metrics(settings: Settings, root: Path) -> Iterator[str]:
    for name in dict.fromkeys([*settings.score.all_metrics, *settings.train.source.metrics]):
        yield from _refusal_of(partial(required, name))


def _judges(settings: Settings, root: Path) -> Iterator[str]:
    for judge in settings.score.judges:
        if (model := judge.model_path) is not None:
            yield from _place("score.judges.model", hub.source(model, root), pipeline=False)


def _peers(settings: Settings, root: Path) -> Iterator[str]:
    for name in settings.evaluate.peers:
        yield from _refusal_of(partial(peer_digest, name, settings.prepare.scale))


def _device(settings: Settings, root: Path) -> Iterator[str]:
    """torch takes seconds to import: it is asked only where the settings do not say enough."""
    device, half = settings.run.device, settings.train.precision == "fp16"
    frozen_half = settings.backbone.frozen_dtype == "float16"
    if device == "cpu" or (device == "auto" and not (half or frozen_half)):
        return
    found = list(_refusal_of(lambda: resolve_device(device)))
    yield from found
    if not found and resolve_device(device).type == "cpu":
        if half:
            yield 'train.precision fp16 needs a GPU, and there is none: set train.precision to "no" or bf16'
        if frozen_half:
            yield "backbone.dtype float16 needs a GPU, and there is none: set it to float32 or bfloat16"


def _registry(settings: Settings, root: Path) -> Iterator[str]:
    configured = os.environ.get("MLFLOW_TRACKING_URI", "")
    if configured and (problem := tracking_problem(configured)):
        yield f"MLFLOW_TRACKING_URI is {configured!r}, {problem}"


def _refusal_of(look: Callable[[], object]) -> Iterator[str]:
    try:
        look()
    except BadInput as error:
        yield str(error)


Check = Callable[[Settings, Path], Iterator[str]]
CHECKS: dict[str, tuple[Check, ...]] = {
    "prepare": (_photos, _captioner),
    "generate": (_model, _metrics, _judges, _device),
    "score": (_metrics, _judges, _device),
    "train": (_model, _metrics, _device),
    "evaluate": (_model, _metrics, _peers, _device),
    "register": (_registry,),
}
"""By the stage that would fail."""
