"""What a gain is made of: which half of the reward it comes from, and what became of the spread over seeds. Pure."""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

from components.artifacts.evaluation import Anatomy, Halves, SeedSpread
from components.evaluate.comparison import Scored
from components.metrics.table import info
from components.rewards.normaliser import FixedNormaliser


def anatomy(
    base: Scored,
    aligned: Scored,
    fr: Sequence[str],
    nr: Sequence[str],
    normaliser: FixedNormaliser,
    photos: Mapping[str, str],
) -> Anatomy:
    """Parts of the reward's difference, and spreads over seeds, of images that have an HR.

    Returns:
        `halves`: by half of the reward (`fr`, `nr`), what it adds to the difference of the rewards; they sum to it.
        `spread`: mean standard deviation of the reward over seeds, of base and aligned; the paper's halves.
        `reward_against`: Spearman correlation, within an image and over both models' restorations, of the reward with
        each metric (higher is better in all): what the reward pays for.
    """
    names = [*fr, *nr]
    halves = None
    tables = {name: scored.table(names) for name, scored in (("base", base), ("aligned", aligned))}
    keys = [
        key
        for key in sorted(tables["base"].keys() & tables["aligned"].keys())
        if all(np.isfinite(table[key][name]) for table in tables.values() for name in names)
    ]
    if keys and fr and nr:

        def moved(name: str) -> float:
            own = FixedNormaliser({name: normaliser.bounds[name]})
            columns = {model: np.array([table[key][name] for key in keys]) for model, table in tables.items()}
            scaled = {model: own.normalised({name: column})[name] for model, column in columns.items()}
            return float((scaled["aligned"] - scaled["base"]).mean())

        fr_half, nr_half = (0.5 * float(np.mean([moved(name) for name in half])) for half in (fr, nr))
        halves = Halves(fr=fr_half, nr=nr_half)
    spread = SeedSpread(base=_over_seeds(base), aligned=_over_seeds(aligned))
    return Anatomy(halves=halves, spread=spread, reward_against=_within_image(base, aligned, photos))


def _over_seeds(scored: Scored) -> float | None:
    """Mean standard deviation of the reward over the seeds of an image; None where no image has several."""
    deviations = [group.std(ddof=1) for group in scored.groups() if len(group) > 1]
    return float(np.mean(deviations)) if deviations else None


def _within_image(base: Scored, aligned: Scored, photos: Mapping[str, str]) -> dict[str, float]:
    metrics = sorted({name for row in base.measurements for name in row.values})
    found: dict[str, list[float]] = {name: [] for name in metrics}
    both = [
        (row, reward)
        for scored in (base, aligned)
        for row, reward in zip(scored.measurements, scored.rewards, strict=True)
    ]
    by_image: dict[str, list[tuple[Mapping[str, float], float]]] = {}
    for row, reward in both:
        if row.lr_id in photos:
            by_image.setdefault(row.lr_id, []).append((row.values, reward))
    for rows in by_image.values():
        for name in metrics:
            known = [(values[name], reward) for values, reward in rows if name in values]
            if len(known) > 2 and len({value for value, _ in known}) > 1 and len({reward for _, reward in known}) > 1:
                sign = 1.0 if info(name).higher_is_better else -1.0
                values_, rewards_ = (np.array(column) for column in zip(*known, strict=True))
                found[name].append(float(stats.spearmanr(sign * values_, rewards_).statistic))
    return {name: float(np.mean(values)) for name, values in found.items() if values}
