"""What must hold between settings, of any block: each check tells what disagrees, and the way out. Pure.

Whatever is refused here would fail in a stage, perhaps after hours, or give something else than what was asked for.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from components.settings.families import FAMILIES, family_of
from components.settings.measured import metrics_fit
from components.settings.method import method_fits

if TYPE_CHECKING:
    from components.settings.project import Settings

DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?")
SMALLEST_LR = 4
"""Side of an LR image, px: guards average over 4 x 4 areas of it."""
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
"""Schemes of MLflow's databases, with or without `+driver`."""


class Disagreements(ValueError):
    """Settings that contradict each other; `messages` has one each."""

    def __init__(self, messages: list[str]) -> None:
        super().__init__("\n".join(messages))
        self.messages = messages


def check(settings: "Settings") -> None:
    """Refuse settings that contradict each other.

    Raises:
        Disagreements: all there are.
    """
    found = [message for one in CHECKS for message in one(settings)]
    if found:
        raise Disagreements(found)


def _the_family_takes_it(settings: "Settings") -> Iterator[str]:
    if not settings.backbone.loaded:
        return
    family, limits = settings.backbone.family, family_of(settings.backbone.family).limits
    if settings.train.t_distribution == "sampler" and not limits.sampler_levels:
        yield (
            f"train.t_distribution sampler is for this project's own models, backbone.family is {family}: "
            "take uniform (SD2) or logit_normal (FLUX, SD3)"
        )
    if settings.train.dual_captions and not limits.prompts:
        readers = ", ".join(name for name, row in FAMILIES.items() if row.limits.prompts)
        yield (
            f'train.dual_captions is for backbones that read prompts, backbone.family is {family}: set it to "", or '
            f"take one of {readers}"
        )
    if settings.train.noise == "own" and limits.stochastic:
        yield (
            f"train.noise own is for flows, whose sample follows from one noise; the sampler of {family} draws in each "
            "step: set it to fresh"
        )
    given = (("evaluate.controls", settings.evaluate.controls, "[]"), ("gate.controls", settings.gate.controls, "{}"))
    for place, controls, none in given:
        if set(controls) - limits.controls:
            yield (
                f"{place} {controls} are of this project's own models, backbone.family is {family}: set it to {none}"
            )
    largest, side = settings.backbone.largest_lr, settings.prepare.crop // settings.prepare.scale
    if largest is not None and side**2 > largest:
        yield (
            f"prepare.crop {settings.prepare.crop} makes LR images of {side} x {side} px, backbone.max_lr_pixels is "
            f"{largest}: lower prepare.crop, or raise the limit if the memory is there"
        )


def _the_device_can(settings: "Settings") -> Iterator[str]:
    device = settings.run.device
    if not DEVICE.fullmatch(device):
        yield f"run.device is {device}, which is not supported here: set it to auto, cpu, cuda or cuda:N"
    if device != "cpu":
        return
    if settings.train.precision == "fp16":
        yield 'train.precision fp16 needs a GPU, and run.device is cpu: set train.precision to "no" or bf16'
    if settings.backbone.frozen_dtype == "float16":
        yield "backbone.dtype float16 needs a GPU, and run.device is cpu: set backbone.dtype to float32 or bfloat16"


def _every_split_gets_photos(settings: "Settings") -> Iterator[str]:
    prepare = settings.prepare
    uses = {"validation": "training chooses its checkpoint by it", "test": "the evaluation is of it"}
    for name, why in uses.items():
        if getattr(prepare.split, name) == 0.0:
            yield f"prepare.split.{name} is 0, and {why}: give it a share"
    if prepare.split.align == 0.0 and not (prepare.align_sources or prepare.align_lr_sources):
        yield (
            "prepare.split.align is 0, and there is nothing to train on: give it a share, or name folders in "
            "prepare.align_sources"
        )


def _photos_can_be_used(settings: "Settings") -> Iterator[str]:
    prepare = settings.prepare
    least = max(prepare.min_side, prepare.crop)
    if (prepare.sources or prepare.pairs) and least**2 > prepare.max_pixels:
        yield (
            f"prepare.max_pixels {prepare.max_pixels} is less than the {least} x {least} px that prepare.min_side and "
            f"prepare.crop ask for, so that no photo can be used: raise it to {least**2} at least"
        )
    if prepare.crop // prepare.scale < SMALLEST_LR:
        yield (
            f"prepare.crop {prepare.crop} over prepare.scale {prepare.scale} makes LR images of "
            f"{prepare.crop // prepare.scale} px a side: raise prepare.crop to {SMALLEST_LR * prepare.scale} at least"
        )


def _training_keeps_its_plan(settings: "Settings") -> Iterator[str]:
    train = settings.train
    if train.warmup_steps > train.steps:
        yield (
            f"train.warmup_steps {train.warmup_steps} exceeds train.steps {train.steps}, so that the learning rate "
            "never gets there: lower train.warmup_steps, or raise train.steps"
        )
    if train.margin_cap and not train.objective.losers:
        yield (
            f"train.margin_cap {train.margin_cap} caps the margin of a winner over a loser, and train.objective "
            f"{train.objective.kind} has no losers: set it to 0"
        )


def _lists_name_things_once(settings: "Settings") -> Iterator[str]:
    lists: dict[str, Sequence[object]] = {
        "generate.splits": settings.generate.splits,
        "evaluate.controls": settings.evaluate.controls,
        "evaluate.mixtures": [mixture.name for mixture in settings.evaluate.mixtures],
        "evaluate.peers": settings.evaluate.peers,
        "prepare.sources": settings.prepare.sources,
        "prepare.align_sources": settings.prepare.align_sources,
        "prepare.lr_sources": settings.prepare.lr_sources,
        "prepare.align_lr_sources": settings.prepare.align_lr_sources,
        "prepare.pairs": [f"{both.lr} with {both.hr}" for both in settings.prepare.pairs],
    }
    for place, values in lists.items():
        named = [str(value) for value in values]
        twice = sorted({value for value in named if named.count(value) > 1})
        if twice:
            yield f"{place} names {', '.join(twice)} more than once: name it once"


def _peers_have_the_scale(settings: "Settings") -> Iterator[str]:
    scale = settings.prepare.scale
    for name in settings.evaluate.peers:
        if name != "bicubic" and scale != 4:
            yield f"evaluate.peers: {name} enlarges by 4, prepare.scale is {scale}: take it out"


def _gate_can_be_passed(settings: "Settings") -> Iterator[str]:
    gate = settings.gate
    for name, limit in gate.fidelity.items():
        if name.startswith("ssim") and limit.floor >= 1.0:
            yield f"gate.fidelity.{name}.floor is {limit.floor:g}, and no restoration has more than 1: lower it"
    for guard, bounds in gate.guards.items():
        if guard in ("colour_shift", "grid") and bounds.bound < 0.0:
            yield f"gate.guards.{guard}.bound is {bounds.bound:g}, and {guard} is never below 0: raise it"
    if gate.min_photos > gate.min_images:
        yield (
            f"gate.min_photos {gate.min_photos} exceeds gate.min_images {gate.min_images}, and a photo has an image at "
            "least: raise gate.min_images to as many"
        )
    for metric in gate.margins:
        if metric not in settings.score.held_out:
            yield f"gate.margins names {metric}, which score.held_out lacks: add it there, or take the margin out"
        elif metric in gate.fidelity:
            yield f"gate.margins names {metric}, which gate.fidelity judges: take one of them out"


def _registry_takes_the_names(settings: "Settings") -> Iterator[str]:
    register = settings.register_
    if not register.experiment.strip():
        yield "register.experiment is empty: name the experiment"
    production = register.model_name.removesuffix("-dev")
    bad = register.model_name != register.model_name.strip() or re.search(r"[/:'@]", register.model_name)
    if bad or not production or production in (".", ".."):
        yield (
            f"register.model_name is {register.model_name!r}: give a name without / : ' @ and without blanks around "
            "it, such as my-model-dev"
        )
    if problem := tracking_problem(register.tracking_uri):
        yield f"register.tracking_uri is {register.tracking_uri!r}, {problem}"
    if register.webhook and not _is_http(register.webhook.get_secret_value()):
        yield 'register.webhook is no http(s) URL: set it to the webhook\'s, or to ""'


def tracking_problem(uri: str) -> str:
    """Why MLflow cannot be at `uri`, and the way out; empty where it may be."""
    scheme, separator, rest = uri.partition("://")
    way_out = "write sqlite:///FILE, http(s)://HOST, or a database as postgresql://USER@HOST/NAME"
    if not separator:
        return f"which is no URI: {way_out}"
    database = scheme.partition("+")[0]
    if scheme in ("http", "https"):
        return "" if _is_http(uri) else f"which names no host: {way_out}"
    if database not in DATABASES:
        return f"whose kind {scheme} is none that a registry of models has: {way_out}"
    if database == "sqlite" and (not rest.startswith("/") or rest.endswith("/") or not rest.strip("/")):
        return "which names no file: write sqlite:///FILE, with three slashes, relative to params.yaml"
    return ""


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False


def _stores_have_urls(settings: "Settings") -> Iterator[str]:
    shared = settings.run.shared_cache
    scheme, separator, rest = shared.partition("://")
    if shared and (not separator or scheme not in ("s3", "file") or not rest.strip("/")):
        yield f"run.shared_cache is {shared!r}: write s3://bucket/prefix or file:///folder"
    elif scheme == "file" and not rest.startswith("/"):
        yield f"run.shared_cache is {shared!r}, which names a host: write file:///folder, with three slashes"
    places = {
        "intake.source": settings.intake.source,
        "intake.quarantine": settings.intake.quarantine,
        "monitor.pairs": settings.monitor.pairs if "://" in settings.monitor.pairs else "",
    }
    for place, url in places.items():
        if url and not re.match(r"s3://[^/]+", url):
            yield f"{place} is {url!r}: write s3://bucket/prefix/"


def _intake_and_monitor_can_say_yes(settings: "Settings") -> Iterator[str]:
    intake, drift, monitor = settings.intake, settings.drift, settings.monitor
    if intake.source and f"{intake.quarantine.rstrip('/')}/".startswith(f"{intake.source.rstrip('/')}/"):
        yield (
            f"intake.quarantine {intake.quarantine} lies within intake.source {intake.source}: it would be taken in "
            "again; name another prefix"
        )
    if intake.source and settings.prepare.prompt.kind == "column":
        yield (
            f"prepare.prompt.kind is column, and intake.source is {intake.source}: new LR images come without a table "
            "of prompts; set prepare.prompt.kind to captioner or fixed, or leave intake.source empty"
        )
    if intake.since is not None and intake.until is not None and intake.since >= intake.until:
        yield f"intake.since {intake.since} is not before intake.until {intake.until}: exchange them"
    if drift.sample < drift.min_images:
        yield (
            f"drift.sample {drift.sample} is less than drift.min_images {drift.min_images}, so that there is never a "
            "verdict: raise drift.sample"
        )
    if monitor.sample < monitor.min_pairs:
        yield (
            f"monitor.sample {monitor.sample} is less than monitor.min_pairs {monitor.min_pairs}, so that nothing is "
            "ever healthy: raise monitor.sample"
        )


CHECKS: tuple[Callable[["Settings"], Iterator[str]], ...] = (
    method_fits,
    _the_family_takes_it,
    _the_device_can,
    _every_split_gets_photos,
    _photos_can_be_used,
    _training_keeps_its_plan,
    _lists_name_things_once,
    _peers_have_the_scale,
    _gate_can_be_passed,
    _registry_takes_the_names,
    _stores_have_urls,
    _intake_and_monitor_can_say_yes,
    metrics_fit,
)
