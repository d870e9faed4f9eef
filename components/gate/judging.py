"""The report on a version against the champion: the one it carries where that still holds, else a new measurement."""

import logging
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from components.artifacts import paths
from components.artifacts.gate_report import Check, GateReport, passed
from components.errors import BadInput
from components.gate import benchmark
from components.gate.benchmark import FrozenSet
from components.gate.evidence import Bench
from components.gate.gate import GATE_REVISION, Rewards, judge
from components.gate.people import preference, study_digest
from components.gate.verdicts import Question, holds, now_ms
from components.metrics.suite import suite_digests
from components.registry.fetch import Copy, Found, model_of
from components.registry.models import built
from components.registry.reports import believed_report
from components.registry.trust import Trust
from components.registry.versions import BASE_MODEL_TAG, IDENTITY_TAG, MODEL_TAG
from components.runtime.process import resolve_device
from components.settings import Settings
from components.storage import digests
from components.upscale.upscaler import Upscaler

logger = logging.getLogger("dp2o.gate")

NO_LIMITS = {"policy", "benchmark", "valid_hours", "signing", "signers", "anchor"}
"""Settings of the gate that change no answer of it."""


@dataclass(frozen=True)
class Candidate:
    """A version in a private copy: what is judged, and what is promoted."""

    found: Found
    copy: Copy

    @property
    def version(self) -> ModelVersion:
        """As the registry has it."""
        return self.found.version

    @property
    def digest(self) -> str:
        """Of what it claims to be, and of what it is: weights and settings."""
        return digests.of_json([self.found.tag(IDENTITY_TAG), self.found.tag(MODEL_TAG), self.copy.package.digest])


def judged(
    settings: Settings,
    root: Path,
    client: MlflowClient,
    trust: Trust,
    champion: Found | None,
    candidate: Candidate,
    new_benchmark: bool = False,
    again: bool = False,
) -> GateReport:
    """The report on `candidate`.

    Args:
        trust: whose earlier reports are believed.
        champion: None for the first model, which is compared with its own base model.
        new_benchmark: freeze a new set from the present test split first, and judge on it.
        again: measure, even if there is a report that holds.

    Raises:
        BadInput: a version is not what its tags say, or the benchmark set cannot be read.
    """
    version = candidate.version
    # first: what is promoted must be what was judged
    challenger = verified(settings, root, candidate.found, candidate.copy)
    with Bench(settings, root, resolve_device(settings.run.device)) as bench:
        frozen = _present_set(settings, root, new_benchmark) or _frozen(settings, root, bench)
        question = _question(settings, root, champion, candidate, frozen)
        known = believed_report(version, trust)
        if known is not None and not again and holds(known, question, settings.gate.valid_hours):
            logger.info("the report on %s/%s still holds: nothing is measured", version.name, version.version)
            return known
        if champion is None:
            present = _base(settings, root, version)
        else:
            present = verified(settings, root, champion, model_of(client, champion))
        checks = _measured(settings, root, bench, frozen, present, challenger)
    return GateReport(
        challenger=candidate.found.name,
        champion=champion.name if champion is not None else "base model",
        benchmark=frozen.name,
        passed=passed(checks),
        question=question.digest,
        judged_ms=now_ms(),
        checks=tuple(checks),
    )


def _measured(
    settings: Settings, root: Path, bench: Bench, frozen: FrozenSet, champion: Upscaler, challenger: Upscaler
) -> list[Check]:
    """All checks on measurements of both."""
    models = [champion, challenger]
    costs = bench.costs(frozen, models)  # before any worker is at work beside them
    before, after = (bench.evidence(frozen, model, cost) for model, cost in zip(models, costs, strict=True))
    controls: dict[str, Rewards] = {
        name: bench.control(frozen, champion, name, factor) for name, factor in settings.gate.controls.items()
    }
    gate = settings.gate
    asked = preference(gate, gate.study, root, champion.digest, challenger.digest) if gate.study else None
    return judge(before, after, frozen.expected(), gate, controls, asked)


def freeze(settings: Settings, root: Path) -> tuple[str, bool]:
    """Name of the benchmark set that models are judged on, and whether it is new: a first one is frozen where none is.

    The gate does that by itself. Apart from it, what all later models are judged on can be kept before one is promoted.

    Raises:
        BadInput: there is no test split, or the set cannot be read.
    """
    present = _present_set(settings, root, new=False)
    if present is not None:
        return present.name, False
    with Bench(settings, root, resolve_device(settings.run.device)) as bench:
        return _frozen(settings, root, bench).name, True


def freeze_again(settings: Settings, root: Path, champion: Found, wanted: str) -> None:
    """Make the first set anew where the project has none and still has the base model that it was frozen with.

    It is the same set then, by its digest.

    Args:
        champion: that was judged on it.
        wanted: the set's name, from the champion's report.
    """
    if benchmark.names(root):
        return
    try:
        base = _base_model(settings, root)
        if base.digest != champion.tag(BASE_MODEL_TAG):
            raise BadInput(f"backbone.path holds {base.digest[:12]}, not the base that the champion was trained from")
        with Bench(settings, root, resolve_device(settings.run.device)) as bench:
            frozen = bench.freeze(base)
    except BadInput as error:  # nothing that a champion that serves has to wait for
        logger.warning("there is no benchmark set, and %s is not made again: %s", wanted, error)
        return
    if frozen.name != wanted:
        logger.warning("benchmark set %s is lost; %s is frozen anew, and differs", wanted, frozen.name)


def _question(
    settings: Settings, root: Path, champion: Found | None, candidate: Candidate, frozen: FrozenSet
) -> Question:
    limits = settings.gate.model_dump(mode="json", exclude=NO_LIMITS)
    study = [study_digest(settings.gate.study, root)] if settings.gate.study else []
    return Question(
        candidate.digest,
        candidate.found.tag(BASE_MODEL_TAG) if champion is None else _champion_digest(champion),
        frozen.found,
        digests.of_json(suite_digests(benchmark.measured_metrics(settings))),
        digests.of_json([limits, GATE_REVISION, *study]),
    )


def _champion_digest(champion: Found) -> str:
    files = {} if champion.record is None else dict(champion.record.content.files)
    return digests.of_json([champion.tag(IDENTITY_TAG), champion.tag(MODEL_TAG), files])


def _present_set(settings: Settings, root: Path, new: bool) -> FrozenSet | None:
    """The set that settings name, else the newest; None where there is none, or a new one is asked for."""
    if new and settings.gate.benchmark:
        raise BadInput(f'gate.benchmark names {settings.gate.benchmark}: set it to "" to judge on a new set')
    have = benchmark.names(root)
    if new or not (settings.gate.benchmark or have):
        return None
    return benchmark.load(root, settings.gate.benchmark or have[-1])


def _frozen(settings: Settings, root: Path, bench: Bench) -> FrozenSet:
    """A new set, with the normaliser of the settings' base model."""
    frozen = bench.freeze(_base_model(settings, root))
    logger.info("benchmark set %s frozen from the test split; keep %s", frozen.name, root / paths.BENCHMARKS)
    return frozen


def _base_model(settings: Settings, root: Path) -> Upscaler:
    backbone = settings.backbone.located(root)
    return Upscaler.load(backbone.path, backbone, resolve_device(settings.run.device))


def _base(settings: Settings, root: Path, version: ModelVersion) -> Upscaler:
    """The base model that `version` was trained from: what a first model has to beat."""
    base = _base_model(settings, root)
    wanted = version.tags.get(BASE_MODEL_TAG, "")
    if base.digest != wanted:
        raise BadInput(
            f"{version.name}/{version.version} was trained from weights {wanted[:12]}, backbone.path holds "
            f"{base.digest[:12]}: there is no champion yet, and the first is compared with its own base model"
        )
    return base


def verified(settings: Settings, root: Path, found: Found, copy: Copy) -> Upscaler:
    """The model of a copy, if its weights are those that were evaluated.

    Raises:
        BadInput: they are not.
    """
    model = built(settings, root, copy)
    wanted = found.tag(MODEL_TAG)
    if model.digest != wanted:
        raise BadInput(
            f"{found.name} holds weights {model.digest[:12]}, it was registered with {wanted[:12]}: its files were "
            "changed; register it again"
        )
    return model
