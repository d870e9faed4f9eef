"""The table of a set as papers print it: markdown, LaTeX, and CSV with every figure. Pure."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence

from components.benchmark.figures import Figure, ModelFigures
from components.benchmark.published import Published, heading, source
from components.metrics.table import info

COLUMNS = (
    "model", "metric", "direction", "images", "samples", "mean", "ci_low", "ci_high", "best", "worst", "deviation",
    "missing", "published_column", "published", "difference", "published_mean", "published_std",
)  # fmt: skip
"""Of the CSV file; `published` is of the paper's Table 1, the last two of its Table 2."""
TEX = str.maketrans({"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}", "²": "$^2$"})


def markdown(
    title: str, facts: Sequence[tuple[str, str]], models: Sequence[ModelFigures], against: Mapping[str, Published]
) -> str:
    """Rows are metrics and columns are models, as in the paper's Table 1; below it Best, Mean, Worst and published."""
    metrics = _metrics(models)
    best = {name: _best(name, models) for name in metrics}
    lines = [f"# {title}", "", *(f"* {name}: {text}" for name, text in facts), ""]
    lines += _table(["metric", *(model.name for model in models)])
    for name in metrics:
        cells = [_with_interval(name, model.metrics.get(name)) for model in models]
        cells = [f"**{cell}**" if model.name == best[name] else cell for cell, model in zip(cells, models, strict=True)]
        lines.append(_row([_arrowed(name), *cells]))
    if any(model.samples > 1 for model in models):
        lines += ["", "Best, mean and worst of the samples of each image, and the deviation over samples:", ""]
        lines += _table(["metric", "model", "K", "best", "mean", "worst", "deviation"])
        for name in metrics:
            for model in models:
                if (figure := model.metrics.get(name)) is not None:
                    numbers = (figure.best, figure.mean, figure.worst, figure.deviation)
                    cells = [_number(name, value) for value in numbers]
                    lines.append(_row([_arrowed(name), model.name, str(model.samples), *cells]))
    if against:
        lines += ["", f"Beside the published figures ({source()}):", ""]
        lines += _table(["metric", "model", "ours", "column", "Table 1", "difference", "Table 2"])
        lines += [_row([_arrowed(name), *cells]) for name, *cells in _beside(metrics, models, against)]
    return "\n".join(lines) + "\n"


def latex(title: str, models: Sequence[ModelFigures], against: Mapping[str, Published]) -> str:
    r"""A booktabs table: metrics by models, the best bold; published columns stand at the right, in italics."""
    metrics = _metrics(models)
    columns = list({column.column: column for column in against.values()}.values())
    best = {name: _best(name, models) for name in metrics}
    heads = [model.name for model in models] + [column.column for column in columns]
    lines = [
        rf"% {title}",
        rf"\begin{{tabular}}{{l{'c' * len(heads)}}}",
        r"\toprule",
        " & ".join(["Metric", *(head.translate(TEX) for head in heads)]) + r" \\",
        r"\midrule",
    ]
    for name in metrics:
        arrow = r"$\uparrow$" if info(name).higher_is_better else r"$\downarrow$"
        cells = []
        for model in models:
            figure = model.metrics.get(name)
            cell = "--" if figure is None else _number(name, figure.mean)
            cells.append(rf"\textbf{{{cell}}}" if model.name == best[name] else cell)
        for column in columns:
            value = column.table_1.get(name)
            cells.append("--" if value is None else rf"\textit{{{_number(name, value)}}}")
        lines.append(" & ".join([f"{heading(name).translate(TEX)} {arrow}", *cells]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def comma_separated(models: Sequence[ModelFigures], against: Mapping[str, Published]) -> str:
    """A row a model and metric, with every figure and the published ones."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for model in models:
        column = against.get(model.name)
        for name, figure in model.metrics.items():
            theirs = column.table_1.get(name) if column else None
            second = column.table_2.get(name) if column else None
            numbers = (figure.mean, figure.low, figure.high, figure.best, figure.worst, figure.deviation)
            writer.writerow(
                [model.name, name, "up" if info(name).higher_is_better else "down", model.images, model.samples]
                + [repr(value) for value in numbers]
                + [figure.missing, column.column if column else "", "" if theirs is None else theirs]
                + ["" if theirs is None else repr(figure.mean - theirs), *(second or ("", ""))]
            )
    return buffer.getvalue()


def _metrics(models: Sequence[ModelFigures]) -> list[str]:
    """Metrics that any model has, in the order of the first that has them."""
    return list(dict.fromkeys(name for model in models for name in model.metrics))


def _best(name: str, models: Sequence[ModelFigures]) -> str:
    """The model with the best mean; empty where there is no other to be better than."""
    known = {model.name: model.metrics[name].mean for model in models if name in model.metrics}
    if len(known) < 2:
        return ""
    sign = 1.0 if info(name).higher_is_better else -1.0
    return max(known, key=lambda model: sign * known[model])


def _beside(
    metrics: Sequence[str], models: Sequence[ModelFigures], against: Mapping[str, Published]
) -> list[tuple[str, str, str, str, str, str, str]]:
    rows = []
    for name in metrics:
        for model in models:
            column, figure = against.get(model.name), model.metrics.get(name)
            if column is None or figure is None or name not in column.table_1:
                continue
            theirs, second = column.table_1[name], column.table_2.get(name)
            spread = "" if second is None else f"{_number(name, second[0])} ± {_number(name, second[1])}"
            ours, less = _number(name, figure.mean), _number(name, figure.mean - theirs, signed=True)
            rows.append((name, model.name, ours, column.column, _number(name, theirs), less, spread))
    return rows


def _table(heads: Sequence[str]) -> list[str]:
    return [_row(heads), _row(["---"] * len(heads))]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def _arrowed(name: str) -> str:
    return f"{heading(name)} {'↑' if info(name).higher_is_better else '↓'}"


def _with_interval(name: str, figure: Figure | None) -> str:
    if figure is None:
        return "–"
    return f"{_number(name, figure.mean)} ({_number(name, figure.low)} … {_number(name, figure.high)})"


def _number(name: str, value: float, signed: bool = False) -> str:
    """Two digits where the paper has two (PSNR, MUSIQ), else four."""
    digits = 2 if name.startswith("psnr") or name in ("musiq", "lr_consistency", "niqe", "piqe", "brisque") else 4
    return f"{value:{'+' if signed else ''}.{digits}f}"
