"""What is judged so far, as results.parquet and results.json. Any process may write them, one at a time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.arena import added
from benchmarks.arena.added import Other
from benchmarks.arena.judge import schema
from benchmarks.arena.results import Difference, Entry, Passes, Results, Seconds
from benchmarks.arena.study import Study, Training, claimed, read_json
from benchmarks.arena.summary import WIN, Comparisons, Table, averaged, broken
from benchmarks.arena.work import Plan, curve, done, failure_of
from components.artifacts import tables
from components.artifacts.tables import Row
from components.judge.bootstrap import ClusterBootstrap
from components.judge.guards import GUARDS
from components.metrics.table import info
from components.settings.gate import GateSettings
from components.storage import digests

ROWS = "results.parquet"


@dataclass(frozen=True)
class Judged:
    """A composition's trainings that are done: those judged, and those that ended early."""

    judged: dict[int, Training]
    diverged: dict[int, str]


def finished(plan: Plan) -> dict[str, Judged]:
    """By composition, those that have at least one training that is done."""
    found: dict[str, Judged] = {}
    for name in plan.study.recipe.compositions:
        one = Judged({}, {})
        for seed in plan.study.recipe.seeds:
            training = plan.final(name, seed)
            if training is None:
                continue
            if (reason := failure_of(training)) is not None:
                one.diverged[seed] = reason
            elif (training.root / "judged.json").is_file():
                one.judged[seed] = training
        if one.judged or one.diverged:
            found[name] = one
    return found


def write(study: Study, metrics: Sequence[str], metric_digests: Mapping[str, str], base_digest: str) -> Results | None:
    """Publish results.parquet and results.json below `study.out`; None before anything is judged."""
    plan = Plan(study)
    found = finished(plan)
    judged = {name: one for name, one in found.items() if one.judged}
    if not judged:
        return None
    with claimed(study.out / "writing", wait=True):
        folders = [study.base, *(one.root for both in judged.values() for one in both.judged.values())]
        rows: list[Row] = []
        for folder in dict.fromkeys(folders):
            rows += tables.read_rows(folder / "rows.parquet", schema(list(metrics)))
        known = {"base": base_digest, "metrics": digests.of_json(metric_digests), "shared": _shared_digest(study)}
        others = {
            name: one
            for name, one in added.read(study.out, known, metrics).items()
            if name not in study.recipe.compositions
        }
        rows += [row for one in others.values() for row in one.rows]
        results = _results(plan, judged, others, rows, metrics, known)
        tables.write_rows(study.out / ROWS, schema(list(metrics)), rows)
        results.write(study.out)
    return results


def _shared_digest(study: Study) -> str:
    """Of the dataset, and of how the model is sampled and judged."""
    shared = study.settings({}).model_dump(mode="json")
    dataset = digests.of_file(study.shared / "data/dataset.parquet")
    places = ("path", "base", "restorer")  # of this machine; what is there is in the base's digest
    sampled = {name: value for name, value in shared["backbone"].items() if name not in places}
    return digests.of_json([dataset, sampled, shared["evaluate"]])


def _results(
    plan: Plan,
    judged: Mapping[str, Judged],
    added_ones: Mapping[str, Other],
    rows: Sequence[Row],
    metrics: Sequence[str],
    known: Mapping[str, str],
) -> Results:
    study, recipe = plan.study, plan.study.recipe
    settings = study.settings({})
    figures = ["reward", *metrics, *GUARDS, "diversity"]
    table = Table.of(rows, figures)
    evaluate = settings.evaluate
    bootstrap = ClusterBootstrap(table.photos, evaluate.bootstrap, evaluate.confidence, evaluate.seed)
    comparisons = Comparisons(table, bootstrap, evaluate.confidence)
    base = table.base_means()
    shown = [name for name in (*figures, WIN) if name in base]
    names = [*judged, *added_ones]
    against_base = {
        name: comparisons.column({one: comparisons.from_base(one, name) for one in names}) for name in shown
    }
    others = [name for name in names if name != recipe.standard] if recipe.standard in names else []
    over = comparisons.column({name: comparisons.between(name, recipe.standard) for name in others})
    figures_of = {
        name: _figures(name, comparisons, base, against_base, over.get(name), settings.gate) for name in names
    }
    entries = {name: _entry(plan, name, one, figures_of[name]) for name, one in judged.items()}
    entries |= {name: one.entry.model_copy(update=figures_of[name]) for name, one in added_ones.items()}
    first = next(iter(next(iter(judged.values())).judged.values()))
    return Results(
        complete=all(done(piece) for piece in plan.pieces()),
        images=len({row["lr_id"] for row in rows}),
        photos=bootstrap.count,
        restorations=len(table.photos),
        passes=recipe.passes,
        checkpoint=recipe.checkpoint,
        confidence=evaluate.confidence,
        standard=recipe.standard,
        fidelity=recipe.axes.fidelity,
        perception=recipe.axes.perception,
        base={name: value for name, value in base.items() if name != WIN},
        base_validation=curve(first.root)[0]["reward"],
        higher_is_better={name: _higher(name) for name in shown if name != WIN},
        compositions=entries,
        matrix=comparisons.matrix(names),
        best=best(entries, recipe.seeds),
        digests=dict(known),
    )


def _figures(
    name: str,
    comparisons: Comparisons,
    base: Mapping[str, float],
    against_base: Mapping[str, Mapping[str, Difference]],
    over: Difference | None,
    gate: GateSettings,
) -> dict[str, Any]:
    """What of an entry follows from rows."""
    figures = comparisons.table.means(name)
    rewards = {
        seed: float((own["reward"] - comparisons.table.base["reward"]).mean())
        for seed, own in sorted(comparisons.table.trainings[name].items())
    }
    return {
        "figures": {key: value for key, value in figures.items() if key != WIN},
        "differences": {key: column[name] for key, column in against_base.items() if key != WIN and name in column},
        "each_seed": {str(seed): reward for seed, reward in rewards.items()},
        "win_rate": _win_rate(against_base[WIN][name]),
        "over_standard": over,
        "broken": broken(figures, base, gate),
    }


def _entry(plan: Plan, name: str, one: Judged, found: Mapping[str, Any]) -> Entry:
    composition = plan.study.recipe.compositions[name]
    trainings = [training for _, training in sorted(one.judged.items())]
    passes = [training.spent for training in trainings]
    tries = (plan.rewards(name) or {}) if len(plan.study.recipe.search.factors) > 1 else {}
    rate = trainings[0].settings.train.learning_rate / trainings[0].factor
    seconds = [(training.trained or {})["seconds"] for training in trainings]
    judging = [(read_json(training.root / "judged.json") or {})["seconds"] for training in trainings]
    before = passes[0].rollouts + passes[0].judge
    return Entry(
        table=composition.table,
        about=composition.about,
        settings=yaml.safe_dump(composition.settings, default_flow_style=True, width=10_000).strip(),
        learning_rate=trainings[0].settings.train.learning_rate,
        tries={f"{rate * factor:g}": reward for factor, reward in tries.items() if reward is not None},
        tries_diverged=[f"{rate * factor:g}" for factor, reward in tries.items() if reward is None],
        seeds=sorted(one.judged),
        diverged={str(seed): reason for seed, reason in one.diverged.items()},
        passes=Passes(
            rollouts=passes[0].rollouts,
            judge=passes[0].judge,
            training=round(float(np.mean([own.training for own in passes]))),
        ),
        steps=[training.steps for training in trainings],
        seconds=Seconds(training=float(np.mean(seconds)), judging=float(np.mean(judging))),
        curve=averaged([curve(own.root) for own in trainings], before, float(np.mean([p.training for p in passes]))),
        **found,
    )


def _win_rate(above_half: Difference) -> Difference:
    """A share, from its difference to 1/2."""
    return above_half.model_copy(
        update={name: getattr(above_half, name) + 0.5 for name in ("mean", "ci_low", "ci_high")}
    )


def best(entries: Mapping[str, Entry], seeds: Sequence[int]) -> str | None:
    """By `results.RULE`; None where no composition is allowed, or the best does not lead the base. Pure."""
    allowed = {
        name: one.differences["reward"]
        for name, one in entries.items()
        if not one.broken and not one.diverged and one.seeds == sorted(seeds)
    }
    leader = max(allowed, key=lambda name: allowed[name].mean, default=None)
    return leader if leader is not None and allowed[leader].ci_low > 0.0 else None


def _higher(name: str) -> bool:
    if name in GUARDS:
        return False
    return name in {"reward", "diversity"} or info(name).higher_is_better


def schema_file(out: Path) -> Path:
    """Where the schema of results.json lies."""
    return out / "results.schema.json"
