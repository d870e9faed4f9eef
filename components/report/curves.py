"""Charts of training, validation and Best/Mean/Worst@M. Pure."""

import csv
import io
import math
from collections.abc import Mapping, Sequence

from components.artifacts.evaluation import Comparison
from components.errors import BadInput
from components.pages.charts import Chart, Series, short

Table = dict[str, list[float]]

COMMON_COLUMNS = ("step", "loss", "gradient_norm", "learning_rate")
"""What every training logs; a chart whose columns one lacks is not drawn."""
TRAINING_COLUMNS = (
    "step",
    "loss",
    "accuracy",
    "margin",
    "policy_winner",
    "policy_loser",
    "reference_winner",
    "reference_loser",
    "weight_std",
    "gradient_norm",
    "learning_rate",
)
"""What a training on pairs logs."""


def read_csv(text: str, name: str, columns: Sequence[str]) -> Table:
    """Columns of a CSV text of numbers.

    Raises:
        BadInput: a column is missing, a value is no number, or there is no row; names the file and the row.
    """
    rows = list(csv.DictReader(io.StringIO(text)))
    found = list(rows[0]) if rows else []
    missing = [column for column in columns if column not in found]
    if missing:
        raise BadInput(f"{name} has {len(rows)} rows and lacks the columns {missing}; run train again")
    table: Table = {column: [] for column in found}
    for number, row in enumerate(rows, start=2):
        for column in found:
            try:
                table[column].append(float(row[column]))
            except (TypeError, ValueError) as error:
                raise BadInput(
                    f"{name} line {number}: {column} is {row[column]!r}, not a number; run train again"
                ) from error
    return table


def rows_of(table: Table) -> list[dict[str, float]]:
    """The same, a row a dictionary."""
    return [dict(zip(table, values, strict=True)) for values in zip(*table.values(), strict=True)]


def _line(training: Table, column: str, name: str, style: str, smooth: bool = True) -> Series:
    points = zip(training["step"], training.get(column, []), strict=column in training)
    return Series(name, style, [(step, value) for step, value in points if math.isfinite(value)], smooth)


def _of_restorations(training: Table) -> list[Chart]:
    """Of trainings that look at restorations: by a reward with a gradient, and on the policy's own roll-outs."""
    return [
        Chart(
            "Reward of restorations",
            "Mean over the step's images: what the policy's restorations get, and the HR images' own.",
            "step",
            [_line(training, "hr_reward", "HR", "base"), _line(training, "reward", "policy", "aligned")],
        ),
        Chart(
            "Distortion",
            "Mean distance from the HR images. Lower is better.",
            "step",
            [_line(training, "distortion", "D", "aligned")],
        ),
        Chart(
            "Log-ratios outside the clip",
            "Share of a sampling's steps. Near 1 the roll-out is used up: fewer inner steps, or a lower learning rate.",
            "step",
            [_line(training, "clipped", "outside", "aligned")],
        ),
        Chart(
            "Distance from the old policy",
            "Mean squared difference of the velocities. It falls to 0 with each roll-out.",
            "step",
            [_line(training, "moved", "distance", "aligned", smooth=False)],
        ),
    ]


def training_charts(training: Table, start: float | None) -> list[Chart]:
    """Small charts over optimiser steps, each with what to look for.

    Args:
        training: columns of reports/training.csv.
        start: the loss where policy and reference agree; None where it is no single number.
    """

    def single(column: str, name: str, smooth: bool = True) -> list[Series]:
        return [_line(training, column, name, "aligned", smooth)]

    def pair(of: str) -> list[Series]:
        reference = _line(training, f"reference_{of}", "reference", "base")
        return [reference, _line(training, f"policy_{of}", "policy", of)]

    charts = [
        Chart(
            "Loss",
            "Mean over the step's pairs."
            + ("" if start is None else f" It is {start:.3f} where policy and reference agree."),
            "step",
            single("loss", "loss"),
            baseline=None if start is None else (start, "policy = reference"),
        ),
        Chart(
            "Implicit accuracy",
            "Share of pairs whose winner the policy prefers more than the reference does. 0.5 is chance.",
            "step",
            single("accuracy", "accuracy"),
            baseline=(0.5, "chance"),
        ),
        Chart(
            "Margin",
            "Mean z = −β/2 · [(winner − loser) of policy − of reference]. Running away means over-optimisation.",
            "step",
            single("margin", "margin"),
            baseline=(0.0, "no preference"),
        ),
        Chart(
            "Winners' error",
            "Denoising error on winners. Policy above reference: winners are being unlearned too.",
            "step",
            pair("winner"),
        ),
        Chart(
            "Losers' error", "Denoising error on losers. It should rise away from the reference.", "step", pair("loser")
        ),
        *_of_restorations(training),
        Chart("Gradient norm", "Before clipping.", "step", single("gradient_norm", "gradient norm")),
        Chart(
            "Spread of the pair weights",
            "Standard deviation of w_intra · w_inter.",
            "step",
            single("weight_std", "std"),
        ),
        Chart("Learning rate", "With warm-up.", "step", single("learning_rate", "learning rate", smooth=False)),
    ]
    # A run without losers (winners-only fine-tuning) logs no number for them: nothing to draw.
    return [chart for chart in charts if any(series.points for series in chart.series)]


def validation_charts(validation: Table, directions: Mapping[str, bool]) -> list[Chart]:
    """The validation reward, on which the best checkpoint is chosen, and the mean of each metric and guard.

    `directions`: metric to whether higher is better.
    """
    steps, rewards = validation["step"], validation["reward"]
    allowed = [place for place, within in enumerate(validation.get("within_limits", [1.0] * len(steps))) if within]
    best = steps[max(allowed, key=lambda place: rewards[place])]
    charts = [
        Chart(
            "Validation reward",
            "Fixed images and noise, normalised on the base. The best step within train.limits is taken.",
            "step",
            [Series("reward", "aligned", list(zip(steps, rewards, strict=True)))],
            baseline=(rewards[0], "base"),
            mark=(best, f"best: step {short(best)}"),
        )
    ]
    for name in validation:
        if name in ("step", "reward", "within_limits"):
            continue
        arrow = "" if name not in directions else " ↑" if directions[name] else " ↓"
        points = list(zip(steps, validation[name], strict=True))
        charts.append(
            Chart(
                f"Validation {name}{arrow}",
                "Mean over the validation images.",
                "step",
                [Series(name, "aligned", points)],
                baseline=(points[0][1], "base"),
            )
        )
    return charts


def spread_chart(evaluation: Comparison) -> Chart:
    """Best/Mean/Worst of M samples for base and aligned."""
    series = []
    for model, sizes in evaluation.best_mean_worst:
        for kind in ("best", "mean", "worst"):
            points = [(float(size), float(getattr(values, kind))) for size, values in sizes.items()]
            series.append(Series(f"{model}, {kind}", f"{model} {kind}", points))
    return Chart(
        "Best, mean and worst of M restorations",
        "Expected reward over all subsets of M seeds. Alignment should lift the floor most.",
        "M, restorations of an image",
        series,
        log_x=True,
    )


def spread_csv(evaluation: Comparison) -> str:
    """The same figures for `dvc plots`: model, samples, best, mean, worst."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["model", "samples", "best", "mean", "worst"])
    for model, sizes in evaluation.best_mean_worst:
        for size, values in sizes.items():
            writer.writerow([model, size, values.best, values.mean, values.worst])
    return buffer.getvalue()
