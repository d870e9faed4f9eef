"""The test images that the page shows: what evaluate left of them, and the close-ups that the rule chooses."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from components.artifacts import paths, tables
from components.artifacts.evaluation import DEVIATION_STEPS, Evaluation, deviation_member
from components.artifacts.shards import ShardFolder, ShardReader
from components.pages.charts import fixed
from components.report.closeups import Closeup, cases, cut, gains_of, mean_over, square
from components.report.pictures import heat

BRIGHTEST = 0.995
"""Quantile of the seeds' deviations, of all test images and both models, that is white."""


class Restored:
    """What evaluate left of the test images: scores, and pictures."""

    def __init__(self, root: Path, dataset: dict[str, tables.Row], inputs: ShardFolder) -> None:
        self.dataset, self._inputs = dataset, inputs
        self.rows = tables.read_any(root / paths.EVALUATION_ROWS)[1]
        self.models = list(dict.fromkeys(str(row["model"]) for row in self.rows))
        self._pictures = ShardReader(root / paths.EVALUATION_PICTURES)
        maps = [self._pictures.image(name) for name in self._pictures if name.endswith(".deviation.png")]
        self.brightest = int(np.quantile(np.concatenate([one.ravel() for one in maps]), BRIGHTEST)) if maps else 0

    def lr(self, lr_id: str) -> NDArray[np.uint8]:
        """The LR `[h, w, 3]`."""
        return self._inputs[self.dataset[lr_id]["shard"]].image(f"{lr_id}.lr.png")

    def hr(self, lr_id: str) -> dict[str, NDArray[np.uint8]]:
        """The HR `[H, W, 3]` by its version's name; nothing where there is none."""
        row = self.dataset[lr_id]
        return {"HR": self._inputs[row["shard"]].image(f"{lr_id}.hr.png")} if row["has_hr"] else {}

    def first(self, lr_id: str, model: str) -> NDArray[np.uint8]:
        """A model's restoration of the first seed, `[H, W, 3]`."""
        return self._pictures.image(f"{lr_id}.{model}.000.png")

    def seeds(self, lr_id: str) -> dict[str, NDArray[np.uint8]]:
        """Where the seeds of base and aligned disagree, in false colours; nothing where there was one seed."""
        names = {f"seeds, {model}": deviation_member(lr_id, model) for model in ("base", "aligned")}
        return {
            version: heat(self._pictures.image(name), self.brightest)
            for version, name in names.items()
            if name in self._pictures
        }


def closeups(evaluation: Evaluation, seen: Restored) -> list[Closeup]:
    """Those of the images that `cases` chooses."""
    units = {
        name: row.spread if row.higher_is_better else -row.spread
        for name, row in evaluation.measures.items()
        if not row.in_reward or name == "reward"
    }
    gains = {name: gains_of(seen.rows, name, unit) for name, unit in units.items()}
    rewarded, judged = gains.pop("reward"), mean_over(list(gains.values()))
    made = []
    for case in cases(rewarded, judged) if rewarded else []:
        row, lr_id = seen.dataset[case.lr_id], case.lr_id
        whole = {model: seen.first(lr_id, model) for model in ("base", "aligned")} | seen.hr(lr_id) | seen.seeds(lr_id)
        place = square(whole["base"], whole["aligned"], row["scale"])
        squares = {"LR": cut(seen.lr(lr_id), place, row["scale"])} | {
            version: cut(picture, place) for version, picture in whole.items()
        }
        told = f", held-out metrics {fixed(judged[lr_id], signed=True)}" if lr_id in judged else ""
        detail = f"reward {fixed(rewarded[lr_id], signed=True)}{told} deviations of the base"
        made.append(Closeup(case.why, row["source_name"], detail, place[:2], squares))
    return made


def deviation_note(evaluation: Evaluation, seen: Restored) -> str:
    """What the pictures of the seeds' deviations are; empty where there are none."""
    found = evaluation.seed_deviation
    if found is None:
        return ""
    return (
        f" “Seeds” shows where the {evaluation.seeds} restorations of one LR disagree: black where all are the same, "
        f"white from a deviation of {seen.brightest / DEVIATION_STEPS:.3g} grey levels. What differs was made up by "
        f"the model. Mean over the test images: base {found.base:.3g}, aligned {found.aligned:.3g} grey levels."
    )
