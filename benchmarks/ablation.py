"""DP2O-SR against its controls and variants, over several training seeds: `python -m benchmarks.ablation`.

Candidates are sampled and scored once; each run then pairs, trains and is judged on the test split with the same noise.
A run that is done is not done again, so the command continues where it was stopped.
"""

import argparse
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from components.artifacts import digests
from components.artifacts.publish import write_json, write_text
from components.backbones.registry import load_backbone
from components.errors import BadInput
from components.evaluate.comparison import Scored
from components.evaluate.stage import Evaluator
from components.generate import stage as generate
from components.judge.bootstrap import ClusterBootstrap, Interval
from components.metrics.table import info
from components.pair import stage as pair
from components.prepare import stage as prepare
from components.score import stage as score
from components.settings import Settings
from components.train import stage as train

logger = logging.getLogger("dp2o.ablation")

Tree = dict[str, Any]
Rows = dict[tuple[str, int], dict[str, float]]

SHARED = ("dataset", "dataset.parquet", "candidates", "candidates.parquet", "scores.parquet")
"""What all runs read, made once."""


STANDARD = "dp2o"
"""Name of the variant that the others are compared with."""


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
        settings = self.settings({"score": {"held_out": []}})
        wanted = digests.of_json([settings.model_dump(mode="json")[name] for name in ("prepare", "generate", "score")])
        mark = self.shared / "made.json"
        if mark.is_file() and json.loads(mark.read_text()) == wanted:
            return
        for stage in (prepare, generate, score):
            stage.run(settings, self.shared)
        write_json(mark, wanted)

    def train(self, name: str, change: Mapping[str, Any], seed: int) -> Path:
        """Train one variant; the folder of its run."""
        settings = self.settings(merged(change, {"train": {"seed": seed}, "pair": {"seed": seed}}))
        root = self.out / "runs" / digests.of_json(settings.model_dump(mode="json"))[:16]
        if not (root / "models/aligned/summary.json").is_file():
            logger.info("training %s, seed %d", name, seed)
            (root / "data").mkdir(parents=True, exist_ok=True)
            for shared in SHARED:
                link = root / "data" / shared
                if not link.is_symlink():
                    link.symlink_to((self.shared / "data" / shared).resolve())
            pair.run(settings, root)
            train.run(settings, root)
        return root


def per_restoration(runs: list[Scored], metrics: list[str]) -> Rows:
    """Mean over training seeds of each restoration's reward and metrics, by (lr_id, index)."""
    listed = [run.table(metrics) for run in runs]
    keys = set.intersection(*(set(table) for table in listed))
    return {
        key: {name: float(np.mean([table[key][name] for table in listed])) for name in ["reward", *metrics]}
        for key in sorted(keys)
    }


def difference(rows: Rows, baseline: Rows, name: str, photos: Mapping[str, str], settings: Settings) -> Interval:
    """Paired difference of a figure with its interval, clustered by source photo."""
    keys = sorted(rows.keys() & baseline.keys())
    bootstrap = ClusterBootstrap(
        [photos[lr_id] for lr_id, _ in keys],
        settings.evaluate.bootstrap,
        settings.evaluate.confidence,
        settings.evaluate.seed,
    )
    return bootstrap.mean(np.array([rows[key][name] - baseline[key][name] for key in keys]))


def table_text(title: str, results: Tree, base_reward: float, metrics: list[str]) -> str:
    """A markdown table of one group of variants."""
    arrows = [f"{name} {'↑' if info(name).higher_is_better else '↓'}" for name in metrics]
    lines = [
        f"### {title}",
        "",
        f"Base reward {base_reward:.4f}. Differences from the base, with confidence intervals over photos; "
        "the seeds' column has the reward difference of each training seed, the next one the paired difference of the "
        f"reward from {STANDARD}.",
        "",
        f"| variant | reward | seeds | reward over {STANDARD} | " + " | ".join(arrows) + " |",
        "|---|---|---|---|" + "---|" * len(metrics),
    ]
    for name, result in results.items():
        cells = [_cell(result["differences"]["reward"]), ", ".join(f"{value:+.4f}" for value in result["seeds"])]
        cells.append(_cell(result["over"][STANDARD]) if STANDARD in result["over"] else "")
        cells += [_cell(result["differences"][metric]) for metric in metrics]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(interval: Tree) -> str:
    return f"{interval['mean']:+.4f} [{interval['low']:+.4f}, {interval['high']:+.4f}]"


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

    settings = study.settings({})
    evaluator = Evaluator.load(settings, study.shared)
    backbone = load_backbone(settings, study.shared, evaluator.device)
    measured = evaluator.measure(evaluator.model("base", backbone, "reference"))
    normaliser = evaluator.normaliser(measured)
    base = evaluator.scored(measured, normaliser)
    metrics = evaluator.suite.names
    base_rows = per_restoration([base], metrics)
    photos = evaluator.images.photos

    def judged(root: Path) -> Scored:
        backbone.load_policy(root / "models/aligned/best")
        return evaluator.scored(evaluator.measure(evaluator.model("aligned", backbone, "policy")), normaliser)

    results: Tree = {}
    found: dict[str, Rows] = {}
    text = ""
    for title, variants in recipe["tables"].items():
        if arguments.tables and title not in arguments.tables:
            continue
        runs: dict[str, list[Scored]] = {}
        for name, change in variants.items():
            with torch.random.fork_rng():
                runs[name] = [judged(study.train(name, change, seed)) for seed in arguments.seeds or recipe["seeds"]]
            found[name] = per_restoration(runs[name], metrics)
        table: Tree = {
            name: {
                "seeds": [
                    difference(per_restoration([run], metrics), base_rows, "reward", photos, settings).mean
                    for run in runs[name]
                ],
                "differences": {
                    figure: _plain(difference(found[name], base_rows, figure, photos, settings))
                    for figure in ["reward", *metrics]
                },
                "over": {
                    other: _plain(difference(found[name], found[other], "reward", photos, settings))
                    for other in found
                    if other != name
                },
            }
            for name in variants
        }
        results[title] = table
        base_reward = float(np.mean([row["reward"] for row in base_rows.values()]))
        text += table_text(title, table, base_reward, metrics) + "\n"
        write_json(arguments.out / "results.json", results)  # after each table, so that a stop loses no more than one
        write_text(arguments.out / "results.md", text)
    print(text)


if __name__ == "__main__":
    main()
