"""The command line of the arena."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.arena import added, collect, page, recipe, text
from benchmarks.arena.judge import Bench
from benchmarks.arena.results import Results
from benchmarks.arena.study import Study
from benchmarks.arena.work import Plan, work
from components.errors import BadInput, ExitCode, UserError, tell
from components.interruption import ends_well
from components.storage.publish import write_json, write_text

NAME = "python -m benchmarks.arena"
ABOUT = """Methods and their controls under one judge, one budget and the same training seeds.

Candidates are sampled and scored once. For each composition a learning rate is searched on the validation images, then
it is trained from several seeds and judged on the test images. What is done is not done again: the command continues
where it stopped. Start it more than once, on one machine or on a folder that machines share, and the processes divide
the work. What is judged so far is always in OUT/results.json, OUT/results.parquet and the page.
"""
EXAMPLES = """examples:
  python -m benchmarks.arena                                    all of it: a night on two cores
  python -m benchmarks.arena --only "winners only" ipo --seeds 0 1 --passes 10000 --factors 1
  python -m benchmarks.arena --set evaluate.seeds=2 prepare.crops_per_photo=2 --out cache/small
  python -m benchmarks.arena --report-only --docs docs/arena.md write page and tables from what is there
  python -m benchmarks.arena --add ../theirs/cache/arena        rows of others' compositions beside ours
"""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog=NAME, description=ABOUT, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--recipe", type=Path, default=Path("benchmarks/arena.yaml"), help="default benchmarks/arena.yaml")
    add("--project", type=Path, default=Path(), help="folder of params.yaml; default this one")
    add("--out", type=Path, default=Path("cache/arena"), help="default cache/arena")
    add("--only", nargs="+", metavar="NAME", help="these compositions, and the standard")
    add("--tables", nargs="+", metavar="TABLE", help="the compositions of these headings, and the standard")
    add("--seeds", nargs="+", type=int, help="training seeds, in place of the recipe's")
    add("--passes", type=int, help="network passes a composition, in place of the recipe's")
    add("--factors", nargs="+", type=float, help="learning rates tried, as factors; one factor is no search")
    add("--set", nargs="+", default=[], metavar="BLOCK.KEY=VALUE", help="shared settings, over the recipe's")
    add("--threads", type=int, default=1, help="torch threads of this process; default 1, as processes divide the work")
    add("--prepare-only", action="store_true", help="stop once the candidates are scored")
    add("--report-only", action="store_true", help="train and judge nothing")
    add("--add", type=Path, metavar="FOLDER", help="take compositions of another arena's folder; trains nothing")
    add("--added", nargs="+", metavar="NAME", help="with --add: these of theirs; default all that ours has not")
    add("--page", type=Path, default=Path("reports/arena.html"), help="default reports/arena.html")
    add("--docs", type=Path, help="a markdown page whose tables are replaced by those found")
    return parser.parse_args(arguments)


def study_of(asked: argparse.Namespace) -> Study:
    """What the command line asks for.

    Raises:
        BadInput: it asks for what cannot be.
    """
    changes: recipe.Tree = {"settings": recipe.assignments(asked.set)}
    for key in ("seeds", "passes"):
        if getattr(asked, key) is not None:
            changes[key] = getattr(asked, key)
    if asked.factors is not None:
        changes["search"] = {"factors": asked.factors}
    chosen = recipe.read(asked.recipe, changes).chosen(asked.only, asked.tables)
    study = Study.load(asked.project, chosen, asked.out)
    for name, one in chosen.compositions.items():  # what cannot work shows before hours of work
        study.settings(one.settings, f"composition {name!r}")
    metrics = study.settings({}).score.all_metrics
    for axis in (chosen.axes.fidelity, chosen.axes.perception):
        if axis not in metrics:
            raise BadInput(f"{asked.recipe}: axes: {axis} is not measured; score has {', '.join(metrics)}")
    return study


def publish(study: Study, bench: Bench, asked: argparse.Namespace) -> Results | None:
    """Results, page and tables of what is judged so far; None where nothing is."""
    digests = {name: bench.evaluator.judge.digests[name] for name in bench.metrics}
    results = collect.write(study, bench.metrics, digests, bench.backbone.digest("reference"))
    if results is None:
        return None
    write_json(collect.schema_file(study.out), Results.model_json_schema())
    write_text(study.out / "results.md", text.tables(results))
    write_text(asked.page, page.html(results, page.pictures(study, results)))
    if asked.docs is not None:
        try:
            write_text(asked.docs, text.within(asked.docs.read_text(), text.tables(results)))
        except (OSError, ValueError) as error:
            raise BadInput(f"--docs {asked.docs}: {error}") from error
    return results


def run(asked: argparse.Namespace) -> None:
    """Do what is asked.

    Raises:
        UserError: what stopped it.
    """
    study = study_of(asked)
    torch.set_num_threads(asked.threads)
    study.prepare()
    if asked.prepare_only:
        return
    bench = Bench.load(study)
    bench.base()
    if asked.add is not None:
        ours = publish(study, bench, asked)
        if ours is None:
            raise BadInput(f"{study.out}: nothing is judged yet that theirs could stand beside: run ours first")
        names = added.add(asked.add, ours, bench.metrics, study.out, asked.added)
        logging.getLogger("dp2o.arena").info("added %s of %s", ", ".join(names), asked.add)
    elif not asked.report_only:
        work(list(Plan(study).pieces()), study, bench, lambda: publish(study, bench, asked))
    if publish(study, bench, asked) is None:
        raise BadInput(f"{study.out}: nothing is judged yet; leave --report-only out")
    print((study.out / "results.md").read_text())
    print(f"page: {asked.page}\nfigures: {study.out / 'results.json'}, {study.out / collect.ROWS}")


def main(arguments: Sequence[str] | None = None) -> ExitCode:
    """Run the arena; its exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s", datefmt="%H:%M:%S")
    try:
        run(parse(arguments))
    except UserError as error:
        return tell(NAME, error)
    return ExitCode.OK


if __name__ == "__main__":
    with ends_well(NAME, resumes=True):
        sys.exit(main())
