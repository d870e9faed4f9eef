"""`dp2o export`: a model into a new folder that other software reads, all of it or nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from components.artifacts.evaluation import Evaluation
from components.errors import BadInput
from components.export import onnx_file, pipelines, torchscript
from components.export.card import card
from components.export.whole import Whole, whole_of
from components.redaction import redacted
from components.storage.publish import atomic_folder
from components.upscale.upscaler import Upscaler

FORMATS = ("onnx", "torchscript", "diffusers")
CARD = "README.md"
_NETWORK: dict[str, Callable[[Whole, Path, dict[str, Any]], dict[str, Any]]] = {
    "onnx": onnx_file.write,
    "torchscript": torchscript.write,
}


def export(
    upscaler: Upscaler, name: str, form: str, out: Path, evaluation: Evaluation | None = None, licence: str = ""
) -> dict[str, Any]:
    """Write the model and its card into the new folder `out`; what was written.

    Args:
        upscaler: what `dp2o upscale` would restore with.
        name: of the model, for its card.
        form: one of FORMATS.
        evaluation: of the project; its figures count where they are of this model.
        licence: see `card`.

    Raises:
        BadInput: there is no such format, the model cannot have it, a library is missing, or `out` exists.
    """
    if form not in FORMATS:
        raise BadInput(f"--format {form}: there are {', '.join(FORMATS)}")
    if out.exists():
        raise BadInput(f"--out {out} exists: name a new folder, nothing is overwritten")
    assert upscaler.saved is not None  # the command loads it from a folder
    settings = upscaler.saved.backbone
    facts = {
        "name": name,
        "family": settings.family,
        "scale": upscaler.backbone.scale,
        "steps": settings.steps,
        "colour_fix": upscaler.colour_fix,
        "model_digest": upscaler.digest,
    }
    if form == "diffusers":
        pipelines.check(settings)
    else:
        whole = whole_of(upscaler, form)
        facts["noise_scale"] = whole.noise_scale
    own = evaluation if evaluation is not None and evaluation.digests.get("aligned") == upscaler.digest else None
    with atomic_folder(out) as folder:
        written = pipelines.write(settings, folder) if form == "diffusers" else _NETWORK[form](whole, folder, facts)
        (folder / CARD).write_text(redacted(card(settings, form, written, facts, own, licence)), encoding="utf-8")
        files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return {"folder": str(out), "format": form, **facts, **written, "files": files}
