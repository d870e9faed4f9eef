"""reports/arena.html: one page without any request, in the report's style. Pure but for its pictures and template."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from benchmarks.arena.pareto import pareto
from benchmarks.arena.recipe import BASE
from benchmarks.arena.results import Difference, Results
from benchmarks.arena.study import Study, read_json
from benchmarks.arena.text import cell, decimals, unseen
from benchmarks.arena.work import Plan
from components.artifacts.shards import decode_png
from components.pages.charts import Chart, Series
from components.report.pictures import data_uri, enlarged


@dataclass(frozen=True)
class Shown:
    """A test image: its versions by name, as data URIs."""

    lr_id: str
    versions: dict[str, str]


def pictures(study: Study, results: Results) -> list[Shown]:
    """The images that are shown, restored by each composition from the same noise (its first judged seed)."""
    folder = study.base / "pictures"
    plan = Plan(study)
    found = []
    for lr_id in (read_json(study.base / "shown.json") or {"lr_ids": []})["lr_ids"]:
        base = decode_png((folder / f"{lr_id}.png").read_bytes())
        lr = decode_png((folder / f"{lr_id}.lr.png").read_bytes())
        versions = {"LR": data_uri(enlarged(lr, *base.shape[:2])), BASE: data_uri(base)}
        for name, one in results.compositions.items():
            if name not in study.recipe.compositions:  # added: its pictures stayed where it was trained
                continue
            training = plan.final(name, one.seeds[0])
            assert training is not None  # it is judged
            versions[name] = data_uri(decode_png((training.root / "pictures" / f"{lr_id}.png").read_bytes()))
        hr = folder / f"{lr_id}.hr.png"
        if hr.is_file():
            versions["HR"] = data_uri(decode_png(hr.read_bytes()))
        found.append(Shown(lr_id, versions))
    return found


@dataclass(frozen=True)
class Cell:
    """A cell of a table: its text, what it is sorted by, and its class in the style sheet."""

    text: str
    value: float
    style: str = ""


def styled(one: Difference, higher_is_better: bool, digits: int) -> Cell:
    """A difference, coloured where it is significant."""
    good = (one.mean > 0) == higher_is_better
    return Cell(cell(one, digits).strip("*"), one.mean, ("better" if good else "worse") if one.significant else "")


def table(results: Results) -> tuple[list[str], list[tuple[str, str, list[Cell]]]]:
    """Headings, and a row a composition: its name, what it is, and its cells."""
    shown = list(results.higher_is_better)
    digits = {
        name: decimals(
            [
                end
                for one in results.compositions.values()
                if name in one.differences
                for end in (one.differences[name].ci_low, one.differences[name].ci_high)
            ]
        )
        for name in shown
    }
    headings = ["reward", "could have seen", "wins", f"over {results.standard}", "could have seen"]
    headings += [f"{name} {'↑' if results.higher_is_better[name] else '↓'}" for name in shown if name != "reward"]
    headings += ["learning rate", "steps", "passes", "s", "beyond limits"]
    rows = []
    for name, one in results.compositions.items():
        reward, over = one.differences["reward"], one.over_standard
        passes = one.passes.rollouts + one.passes.judge + one.passes.training
        cells = [styled(reward, True, 4), Cell(unseen(reward), reward.detectable)]
        cells += [Cell(f"{one.win_rate.mean:.0%}", one.win_rate.mean)]
        cells += [styled(over, True, 4) if over else Cell("", 0.0), Cell(unseen(over) if over else "", 0.0)]
        cells += [
            styled(one.differences[key], results.higher_is_better[key], digits[key])
            if key in one.differences
            else Cell("", 0.0)
            for key in shown
            if key != "reward"
        ]
        steps = sum(one.steps) / len(one.steps)
        cells += [
            Cell(f"{one.learning_rate:.2g}", one.learning_rate),
            Cell(f"{steps:.0f}", steps),
            Cell(f"{passes}", passes),
            Cell(f"{one.seconds.training:.0f}", one.seconds.training),
            Cell(", ".join(one.broken) or "none", float(len(one.broken)), "worse" if one.broken else ""),
        ]
        rows.append((name, one.about, cells))
    return headings, rows


def curves(results: Results) -> list[Chart]:
    """Validation reward over passes, each composition beside the standard."""
    standard = results.compositions.get(results.standard)
    charts = []
    for name, one in results.compositions.items():
        lines = [Series("each seed's least", "worst aligned", [(point.passes, point.low) for point in one.curve])]
        lines += [Series("mean over seeds", "aligned", [(point.passes, point.reward) for point in one.curve])]
        lines += [Series("each seed's largest", "best aligned", [(point.passes, point.high) for point in one.curve])]
        if standard is not None and name != results.standard:
            lines.append(Series(results.standard, "base", [(point.passes, point.reward) for point in standard.curve]))
        charts.append(Chart(name, one.about, "network passes", lines, baseline=(results.base_validation, "the base's")))
    return charts


def matrix(results: Results) -> list[tuple[str, list[Cell]]]:
    """Who beats whom: the row's reward less the column's; coloured where it is significant."""
    names = list(results.compositions)
    found = []
    for row in names:
        cells = []
        for column in names:
            one = results.matrix[row].get(column)
            cells.append(Cell("", 0.0, "same") if one is None else styled(one, True, 3))
        found.append((row, cells))
    return found


def lede(results: Results) -> tuple[str, str]:
    """The page's headline and the sentence below it."""
    if not results.complete:
        head = "Not all is trained yet"
    elif results.best is None:
        head = "Nothing leads the base within the limits"
    else:
        head = f"{results.best} is best"
    leads = {name: one.over_standard for name, one in results.compositions.items() if one.over_standard is not None}
    leaders = [name for name, over in leads.items() if over.significant and over.mean > 0]
    rest = f"Ahead of {results.standard} after adjustment: {', '.join(leaders) or 'none'}."
    return head, f"{results.passes} network passes a composition, the {results.checkpoint} checkpoint judged. {rest}"


def html(results: Results, shown: Sequence[Shown]) -> str:
    """The page."""
    environment = Environment(
        loader=PackageLoader("benchmarks.arena", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    report = resources.files("components.report") / "page"
    headings, rows = table(results)
    title, text = lede(results)
    return environment.get_template("page.html").render(
        results=results,
        title=title,
        lede=text,
        headings=headings,
        rows=rows,
        pareto=pareto(results),
        matrix=matrix(results),
        curves=curves(results),
        shown=shown,
        style=Markup((report / "page.css").read_text()),
        script=Markup((report / "page.js").read_text()),
    )
