"""Whether the metrics that settings name exist, are in their place, and can judge pictures of that size.

Their table is the metrics' own, and no import of it needs torch.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from components.errors import BadInput
from components.settings.families import Code
from components.settings.part import MissingLibrary

if TYPE_CHECKING:
    from components.settings.project import Settings

INFO = Code("components.metrics.table:info")
"""Name to its row of the table."""
TABLE = Code("components.metrics.table:TABLE")
"""All rows by name."""
_SIDE = {"fr": ("FR", "NR", "nr"), "nr": ("NR", "FR", "fr")}
"""Setting of `score` to the kind it takes, the other kind, and where that belongs."""


def metrics_fit(settings: "Settings") -> Iterator[str]:
    """What is wrong with the metrics, and the way out."""
    rows: dict[str, Any] = {}
    named = {
        **dict.fromkeys((settings.drift.metric,), "drift.metric"),
        **dict.fromkeys(settings.gate.fidelity, "gate.fidelity"),
        **{name: "train.limits" for name in ("psnr", "ssim") if name in settings.train.limits},
        **{name: f"score.{place}" for place in ("fr", "nr", "held_out") for name in getattr(settings.score, place)},
    }
    for name, place in named.items():
        try:
            rows[name] = INFO(name)
        except BadInput as error:
            if not isinstance(error.__cause__, MissingLibrary):  # it is checked where it is used
                yield f"{place}: {error}"
    yield from _kinds(settings, rows)
    yield from _gradients(settings)
    crop = settings.prepare.crop
    for name, row in rows.items():
        if row.min_size > crop and not (named[name] == "drift.metric" and not settings.intake.source):
            yield (
                f"prepare.crop is {crop} px, and metric {name} ({named[name]}) judges pictures of {row.min_size} px at "
                f"least: raise prepare.crop to {_multiple(row.min_size, settings.prepare.scale)}, or take it out of "
                f"{named[name]}"
            )


def _gradients(settings: "Settings") -> Iterator[str]:
    source = settings.train.source
    if not source.metrics:
        return
    for key, kind, name in zip(("distortion", "reward"), ("FR", "NR"), source.metrics, strict=True):
        try:
            row = INFO(name)
        except BadInput as error:
            if not isinstance(error.__cause__, MissingLibrary):
                yield f"train.source.{key}: {error}"
            continue
        if str(row.kind) != kind:
            yield f"train.source.{key} is {name}, a metric of kind {row.kind}: take one of kind {kind}"
        elif not row.differentiable:
            known = [one for one, other in TABLE.function.items() if other.differentiable and str(other.kind) == kind]
            yield f"train.source.{key} is {name}, which has no gradient here: take one of {', '.join(known)}"
        elif row.min_size > settings.prepare.crop:
            yield (
                f"prepare.crop is {settings.prepare.crop} px, and metric {name} (train.source.{key}) judges pictures "
                f"of {row.min_size} px at least: raise prepare.crop, or take another metric"
            )


def _kinds(settings: "Settings", rows: dict[str, Any]) -> Iterator[str]:
    for place, (kind, other, belongs) in _SIDE.items():
        for name in getattr(settings.score, place):
            found = str(rows[name].kind) if name in rows else kind
            if found == other:
                yield f"score.{place} names {name}, which is a metric of kind {found}: move it to score.{belongs}"
            elif found != kind:
                yield (
                    f"score.{place} names {name}, which is rewarded by itself where there is no HR, and never beside "
                    "one: move it to score.held_out"
                )
            elif name in rows and rows[name].partial:
                yield (
                    f"score.{place} names {name}, which is undefined for some images, so that they would have no "
                    "reward: move it to score.held_out"
                )
    drift = rows.get(settings.drift.metric)
    if drift is not None and str(drift.kind) != "NR":
        yield f"drift.metric is {settings.drift.metric}, and new LR images have no HR: take an NR metric"


def _multiple(least: int, scale: int) -> int:
    """The smallest crop of at least so many px that `scale` divides."""
    return -(-least // scale) * scale
