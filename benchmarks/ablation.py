"""DP2O-SR against its controls and variants, over several training seeds: `python -m benchmarks.ablation`.

Candidates are sampled and scored once; each run then pairs, trains and is judged on the test split with the same noise.
A run that is done is not done again, so the command continues where it was stopped. Start it more than once, on one
machine or on a folder that machines share, and the processes divide the runs between them.
"""

import argparse
import fcntl
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from benchmarks.parts.ablation_table import Tree, table_text
from components.artifacts import digests
from components.artifacts.publish import write_json, write_text
from components.backbones.base import Backbone
from components.backbones.loading import load_backbone
from components.errors import BadInput
from components.evaluate.comparison import Scored
from components.evaluate.evaluator import Evaluator
from components.generate import stage as generate
from components.judge.bootstrap import ClusterBootstrap, Interval
from components.pair import stage as pair
from components.prepare import stage as prepare
from components.rewards.normaliser import FixedNormaliser
from components.score import stage as score
from components.settings import Settings
from components.train import stage as train

logger = logging.getLogger("dp2o.ablation")

Rows = dict[tuple[str, int], dict[str, float]]

SHARED = ("dataset", "dataset.parquet", "candidates", "candidates.parquet", "scores.parquet")
"""What all runs read, made once."""


@contextmanager
def claimed(folder: Path, *, wait: bool) -> Iterator[bool]:
    """Whether this process alone works in `folder`; the lock ends with the process, however that ends.

    Args:
        folder: made if it does not exist.
        wait: for the process that works there, instead of saying no.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True


def merged(base: Mapping[str, Any], change: Mapping[str, Any]) -> Tree:
    """`base` with the leaves of `change` put in its place."""
    result = dict(base)
    for key, value in change.items():
        inner = result.get(key)
        result[key] = merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return result


@dataclass(frozen=True)
class Study:
    """Settings of the ablation, its folder, and its judges.

    Attributes:
        project: folder of params.yaml and data/.
        out: folder of everything made here.
        values: params.yaml with the ablation's settings merged in, paths made absolute.
    """

    project: Path
    out: Path
    values: Tree

    @classmethod
    def load(cls, project: Path, recipe: Tree, out: Path) -> "Study":
        """Read params.yaml and merge the recipe's settings."""
        values = merged(yaml.safe_load((project / "params.yaml").read_text()), recipe["settings"])
        for setting in ("sources", "align_sources", "lr_sources"):
            values["prepare"][setting] = [str((project / folder).resolve()) for folder in values["prepare"][setting]]
        values["backbone"]["path"] = str((project / values["backbone"]["path"]).resolve())
        values["run"]["cache"] = str((project / values["run"]["cache"]).resolve())
        return cls(project, out, values)

    def settings(self, change: Mapping[str, Any]) -> Settings:
        """Checked settings of a variant."""
        return Settings.model_validate(merged(self.values, change))

    @property
    def shared(self) -> Path:
        """Root of the dataset, candidates and scores."""
        return self.out / "shared"

    def prepare(self) -> None:
        """Dataset, candidates and their rewarded scores, for the largest M."""
        with claimed(self.shared, wait=True):
            self._prepare()

    def _prepare(self) -> None:
        settings = self.settings({"score": {"held_out": []}})
        wanted = digests.of_json([settings.model_dump(mode="json")[name] for name in ("prepare", "generate", "score")])
        mark = self.shared / "made.json"
        if mark.is_file() and json.loads(mark.read_text()) == wanted:
            return
        for stage in (prepare, generate, score):
            stage.run(settings, self.shared)
        write_json(mark, wanted)

    def train(self, name: str, settings: Settings) -> Path:
        """Pair and train one variant, as far as that has not been done; the folder of its run."""
        root = self.root(settings)
        if not (root / "models/aligned/summary.json").is_file():
            logger.info("training %s, seed %d", name, settings.train.seed)
            (root / "data").mkdir(parents=True, exist_ok=True)
            for shared in SHARED:
                link = root / "data" / shared
                if not link.is_symlink():
                    link.symlink_to((self.shared / "data" / shared).resolve())
            with torch.random.fork_rng():
                pair.run(settings, root)
                train.run(settings, root)
        return root

    def root(self, settings: Settings) -> Path:
        """Folder of the run with these settings."""
        return self.out / "runs" / digests.of_json(settings.model_dump(mode="json"))[:16]


def per_restoration(runs: list[Scored], metrics: list[str]) -> Rows:
    """Mean over training seeds of each restoration's reward and metrics, by (lr_id, index)."""
    listed = [run.table(metrics) for run in runs]
    keys = set.intersection(*(set(table) for table in listed))
    return {
        key: {name: float(np.mean([table[key][name] for table in listed])) for name in ["reward", *metrics]}
        for key in sorted(keys)
    }


@dataclass(frozen=True)
class Judge:
    """Judges runs on the test split with the same noise, against the base model.

    Attributes:
        evaluator: images and metrics.
        backbone: the model, whose policy is loaded from a run.
        normaliser: of the rewards, fixed on the base model's restorations.
        base: the base model's restorations.
    """

    evaluator: Evaluator
    backbone: Backbone
    normaliser: FixedNormaliser
    base: Rows

    @classmethod
    def load(cls, study: Study) -> "Judge":
        """Judge of the study's settings; measures the base model, as far as the cache has not got it."""
        settings = study.settings({})
        evaluator = Evaluator.load(settings, study.shared)
        backbone = load_backbone(settings, study.shared, evaluator.device)
        (measured,) = evaluator.measure(evaluator.model("base", backbone, "reference"))
        normaliser = evaluator.normaliser(measured)
        base = per_restoration([evaluator.scored(measured, normaliser)], evaluator.metrics)
        return cls(evaluator, backbone, normaliser, base)

    @property
    def metrics(self) -> list[str]:
        """Names of all metrics, rewarded and held out."""
        return self.evaluator.metrics

    def judged(self, root: Path) -> Scored:
        """Restorations by the best checkpoint of a run; what has been measured is in the cache."""
        evaluator = self.evaluator
        self.backbone.load_policy(root / "models/aligned/best")
        (measured,) = evaluator.measure(evaluator.model("aligned", self.backbone, "policy"))
        return evaluator.scored(measured, self.normaliser)

    def difference(self, rows: Rows, baseline: Rows, figure: str) -> Interval:
        """Paired difference of a figure with its interval, clustered by source photo."""
        keys = sorted(rows.keys() & baseline.keys())
        photos, settings = self.evaluator.images.photos, self.evaluator.settings.evaluate
        bootstrap = ClusterBootstrap(
            [photos[lr_id] for lr_id, _ in keys], settings.bootstrap, settings.confidence, settings.seed
        )
        return bootstrap.mean(np.array([rows[key][figure] - baseline[key][figure] for key in keys]))

    def over_seeds(self, runs: list[Rows], baselines: list[Rows], figure: str) -> Interval:
        """Paired difference of a figure, with photos and training seeds as random factors; of one run, over photos."""
        if len(runs) == 1:
            return self.difference(runs[0], baselines[0], figure)
        keys = sorted(set.intersection(*(set(rows) for rows in (*runs, *baselines))))
        photos, settings = self.evaluator.images.photos, self.evaluator.settings.evaluate
        bootstrap = ClusterBootstrap(
            [photos[lr_id] for lr_id, _ in keys], settings.bootstrap, settings.confidence, settings.seed
        )
        return bootstrap.over_seeds(
            np.array(
                [
                    [rows[key][figure] - baseline[key][figure] for key in keys]
                    for rows, baseline in zip(runs, baselines, strict=True)
                ]
            )
        )

    def table(self, runs: Mapping[str, list[Scored]], others: Mapping[str, list[Rows]]) -> Tree:
        """Figures of each variant: mean difference from the base, that of each seed, and the lead over `others`.

        Variants pair by training seed; intervals have photos and seeds as random factors.
        """
        rows = {name: [per_restoration([run], self.metrics) for run in scored] for name, scored in runs.items()}
        return {
            name: {
                "seeds": [self.difference(run, self.base, "reward").mean for run in mine],
                "differences": {
                    figure: _plain(self.over_seeds(mine, [self.base] * len(mine), figure))
                    for figure in ["reward", *self.metrics]
                },
                "over": {
                    other: _plain(self.over_seeds(mine, baseline, "reward"))
                    for other, baseline in {**others, **rows}.items()
                    if other != name and len(baseline) == len(mine)
                },
            }
            for name, mine in rows.items()
        }


def trained_and_judged(
    study: Study, judge: Judge, name: str, change: Mapping[str, Any], seed: int, *, wait: bool
) -> Scored | None:
    """One variant with one seed, trained and judged as far as it is not; None if another process is at it.

    Args:
        study: settings and folder of the results.
        judge: of the run.
        name: of the variant, for the log.
        change: its settings.
        seed: of the training and of what the pairs draw.
        wait: for the other process, instead of None.
    """
    settings = study.settings(merged(change, {"train": {"seed": seed}, "pair": {"seed": seed}}))
    with claimed(study.root(settings), wait=wait) as ours:
        return judge.judged(study.train(name, settings)) if ours else None


def tabulate(study: Study, judge: Judge, tables: Mapping[str, Tree], seeds: list[int], *, wait: bool) -> bool:
    """Train, judge and write what is missing.

    Args:
        study: settings and folder of the results.
        judge: of the runs.
        tables: variants by name, by table.
        seeds: of the trainings.
        wait: for runs that another process is at; else tables that need one are left out.

    Returns:
        Whether all tables are written.
    """
    results: Tree = {}
    found: dict[str, list[Rows]] = {}
    text = ""
    for title, variants in tables.items():
        runs: dict[str, list[Scored]] = {}
        for name, change in variants.items():
            made = [trained_and_judged(study, judge, name, change, seed, wait=wait) for seed in seeds]
            runs[name] = [scored for scored in made if scored is not None]
        if any(len(scored) < len(seeds) for scored in runs.values()):
            continue
        results[title] = judge.table(runs, found)
        found |= {name: [per_restoration([run], judge.metrics) for run in scored] for name, scored in runs.items()}
        base_reward = float(np.mean([row["reward"] for row in judge.base.values()]))
        text += table_text(title, results[title], base_reward, judge.metrics) + "\n"
        write_json(study.out / "results.json", results)  # after each table, for who looks before the end
        write_text(study.out / "results.md", text)
    return len(results) == len(tables)


def _plain(interval: Interval) -> Tree:
    return {"mean": interval.mean, "low": interval.low, "high": interval.high}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", type=Path, default=Path("benchmarks/ablation.yaml"))
    parser.add_argument("--project", type=Path, default=Path())
    parser.add_argument("--out", type=Path, default=Path("cache/ablation"))
    parser.add_argument("--seeds", type=int, nargs="+", help="training seeds; default those of the recipe")
    parser.add_argument("--tables", nargs="+", help="only these tables of the recipe")
    parser.add_argument("--prepare-only", action="store_true", help="stop once the candidates are scored")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s", datefmt="%H:%M:%S")
    recipe = yaml.safe_load(arguments.recipe.read_text())
    unknown = sorted(set(arguments.tables or []) - set(recipe["tables"]))
    if unknown:
        raise BadInput(f"{arguments.recipe} has no tables {unknown}; it has {sorted(recipe['tables'])}")
    study = Study.load(arguments.project, recipe, arguments.out)
    study.prepare()
    if arguments.prepare_only:
        return

    chosen = arguments.tables or list(recipe["tables"])
    tables = {title: variants for title, variants in recipe["tables"].items() if title in chosen}
    seeds = arguments.seeds or recipe["seeds"]
    judge = Judge.load(study)
    # First whatever no other process is at, then what the others have made.
    if not tabulate(study, judge, tables, seeds, wait=False):
        tabulate(study, judge, tables, seeds, wait=True)
    print((study.out / "results.md").read_text())


if __name__ == "__main__":
    main()
