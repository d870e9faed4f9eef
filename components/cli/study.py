"""Blinded comparisons by people: make a study, invite raters, serve it, and read the result."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from components.artifacts import paths
from components.cli.context import LOOK, PARAMS, AsJson, Params, command, examples, show
from components.errors import BadInput

commands = typer.Typer()
study = typer.Typer(no_args_is_help=True, help="Blinded comparisons by people.")
commands.add_typer(study, name="study", rich_help_panel=LOOK)

Many = list[str] | None
Name = Annotated[str, typer.Argument(help="The study's: a folder of that name in studies/.")]
Names = Annotated[Many, typer.Option("--rater", help="Name of a rater; may be given again.")]
Raters = Annotated[int, typer.Option(min=0, max=1000, help="Invite so many more, called rater-1, rater-2 and so on.")]


@study.command(
    "new",
    epilog=examples(
        "dp2o study new first   (base against aligned, on the test split)",
        "dp2o study new versions --model models:/sr-dev/3 --model new=models:/sr-dev@candidate --peer bicubic",
        "dp2o study new real --set realsr --data /data/sets --results SeeSR=/results/seesr --model aligned",
        "dp2o study new seeds --model aligned --seeds 2",
        "dp2o study new votes1 --candidates --pairs 200 --per-rater 50",
    ),
)
def new(
    name: Name,
    model: Annotated[
        Many, typer.Option(help="base, aligned, models:/NAME@ALIAS or a folder of weights; or NAME=one of them.")
    ] = None,
    peer: Annotated[Many, typer.Option(help="bicubic, realesrgan, realesrgan_fixed or realesr_animevideo.")] = None,
    results: Annotated[Many, typer.Option(metavar="NAME=FOLDER", help="Restorations that others made.")] = None,
    seeds: Annotated[int, typer.Option(min=1, max=64, help="Samples an image. With one model they are compared.")] = 1,
    candidates: Annotated[
        bool, typer.Option("--candidates", help="Compare candidates of the align split, for pair.builder votes.")
    ] = False,
    per_group: Annotated[int, typer.Option(min=1, help="With --candidates: pairs of each LR group.")] = 2,
    set_name: Annotated[str, typer.Option("--set", help="A public test set instead of the test split.")] = "",
    data: Annotated[Path | None, typer.Option(help="With --set: folder that holds the sets' own folders.")] = None,
    photos: Annotated[Path | None, typer.Option(help="A folder of plain photos instead of the test split.")] = None,
    protocol: Annotated[
        Literal["crop", "full"], typer.Option(help="Of --set and --photos. crop: the middle 128 px of each; full: all.")
    ] = "crop",
    pairs: Annotated[
        int, typer.Option(min=0, help="Comparisons, over all pairs of models; 0: as many as can be.")
    ] = 60,
    per_rater: Annotated[int, typer.Option(min=0, help="Comparisons that each rater gets; 0: all.")] = 0,
    checks: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Attention checks, as a share of the comparisons.")
    ] = 0.1,
    repeats: Annotated[float, typer.Option(min=0.0, max=0.5, help="Share that is asked twice, sides exchanged.")] = 0.1,
    most_failed: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Who fails more of the checks than this is excluded.")
    ] = 0.2,
    ties: Annotated[bool, typer.Option("--ties/--no-ties", help="May raters see no difference?")] = True,
    question: Annotated[str, typer.Option(help="What raters are asked.")] = "Which picture looks better?",
    metrics: Annotated[
        str, typer.Option(help="Metrics to compare with people: names by commas, `none`; default: the settings'.")
    ] = "",
    seed: Annotated[int, typer.Option(help="Of the images, the orders and the sides.")] = 0,
    params: Params = PARAMS,
    as_json: AsJson = False,
) -> None:
    """Make a study: restorations side by side, frozen, under names that tell nothing."""
    with command("study new", params, logs=True, computes=True) as context:
        from components.benchmark.command import metrics_of  # noqa: PLC0415
        from components.benchmark.models import Named  # noqa: PLC0415
        from components.study.candidates import new_of_candidates  # noqa: PLC0415
        from components.study.making import Compared, Design, Images, new_of_models  # noqa: PLC0415

        settings, root = context.project
        design = Design(name, question, ties, pairs, per_rater, checks, repeats, most_failed, seed)
        if candidates:
            if model or peer or results or set_name or photos:
                raise BadInput("--candidates compares candidates of the align split: leave out models and images")
            made = new_of_candidates(settings, root, design, per_group)
        else:
            alone = not (model or peer or results)
            compared = Compared(
                tuple(Named.parse(text, "--model") for text in (["base", "aligned"] if alone else model or [])),
                tuple(peer or ()),
                tuple(Named.parse(text, "--results") for text in results or ()),
                seeds,
                () if metrics == "none" else metrics_of(settings, metrics),
            )
            made = new_of_models(settings, root, design, Images(set_name, data, photos, protocol), compared)
        folder = root / "studies" / name
    facts = {"study": name, "folder": str(folder), "digest": made.digest}
    counts = {"pairs": len(made.pairs), "checks": len(made.checks), "repeats": made.repeats}
    tasks = (made.per_rater or len(made.pairs)) + len(made.checks) + made.repeats
    text = (
        f"{folder}: {len(made.pairs)} comparisons, {len(made.checks)} attention checks; each rater answers {tasks}, "
        f"{made.repeats} of them twice\nnext: dp2o study serve {name} --raters 5"
    )
    show(as_json, facts | counts | {"tasks": tasks}, text)


@study.command(
    "invite",
    epilog=examples(
        "dp2o study invite first --raters 5", "dp2o study invite first --rater ada --url https://sr.example"
    ),
)
def invite(
    name: Name,
    rater: Names = None,
    raters: Raters = 0,
    renew: Annotated[bool, typer.Option("--renew", help="A new link for raters who have one, which ends.")] = False,
    url: Annotated[str, typer.Option(help="How raters reach the server.")] = "http://127.0.0.1:8765",
    params: Params = PARAMS,
    as_json: AsJson = False,
) -> None:
    """Add raters, and print a link for each. It is shown once; only its digest is kept."""
    with command("study invite", params) as context:
        from components.study import manifest  # noqa: PLC0415
        from components.study import raters as people  # noqa: PLC0415
        from components.study.serving import links  # noqa: PLC0415

        if not rater and not raters:
            raise BadInput("nobody is invited: give --raters 5, or --rater NAME")
        folder = manifest.found(context.root, name)
        made = people.invite(folder, rater or [], raters, renew)
    text = "\n".join(links(url, made))
    show(as_json, {one.name: f"{url.rstrip('/')}/r/{token}/" for one, token in made}, text)


@study.command(
    "serve",
    epilog=examples(
        "dp2o study serve first --raters 5   (on this machine)",
        "dp2o study serve first --host 0.0.0.0 --host-name sr.example --port 8080",
    ),
)
def serve(
    name: Name,
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8765,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    host_name: Annotated[
        Many, typer.Option(help="Name by which raters reach this machine, without a port; others are refused.")
    ] = None,
    rater: Names = None,
    raters: Raters = 0,
    params: Params = PARAMS,
) -> None:
    """Serve a study to its raters until Ctrl-C. Every vote is on disk before the page goes on."""
    with command("study serve", params, logs=True) as context:
        from components.study import manifest, serving  # noqa: PLC0415
        from components.study import raters as people  # noqa: PLC0415

        folder = manifest.found(context.root, name)
        if rater or raters:
            base = f"http://{(host_name or [host])[0]}:{port}"
            print("\n".join(serving.links(base, people.invite(folder, rater or [], raters))), flush=True)
        serving.serve(folder, host, port, host_name or [])


@study.command("result", epilog=examples("dp2o study result first", "dp2o study result first --json | jq .kept.pairs"))
def result(name: Name, params: Params = PARAMS, as_json: AsJson = False) -> None:
    """What people preferred, with intervals over raters and photos; who was excluded; which metrics agree."""
    with command("study result", params, logs=True) as context:
        from components.study import manifest, votes  # noqa: PLC0415
        from components.study.result import result_of  # noqa: PLC0415
        from components.study.text import as_text  # noqa: PLC0415

        folder = manifest.found(context.root, name)
        made = manifest.read(folder)
        entries = votes.read(folder)
        evaluate = context.settings.evaluate
        found = result_of(
            made,
            entries.standing,
            entries.digest,
            resamples=evaluate.bootstrap,
            confidence=evaluate.confidence,
        )
    show(as_json, found.model_dump(mode="json"), as_text(made, found))


@study.command("export", epilog=examples("dp2o study export first -o votes.csv"))
def export(
    name: Name,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write; default: stdout.")] = None,
    params: Params = PARAMS,
) -> None:
    """The standing votes as CSV, a row each."""
    with command("study export", params, logs=True) as context:
        from components.storage.publish import write_text  # noqa: PLC0415
        from components.study import manifest, votes  # noqa: PLC0415
        from components.study.table import as_csv  # noqa: PLC0415

        folder = manifest.found(context.root, name)
        text = as_csv(manifest.read(folder), votes.read(folder).standing)
        if output is not None:
            write_text(output, text)
    print(text if output is None else f"{output} is written", end="" if output is None else "\n")


@study.command("import", epilog=examples("dp2o study import first votes.csv"))
def import_votes(
    name: Name,
    file: Annotated[Path, typer.Argument(help="A table as `dp2o study export` writes it.")],
    params: Params = PARAMS,
    as_json: AsJson = False,
) -> None:
    """Add votes that were given elsewhere; all rows or none."""
    with command("study import", params, logs=True) as context:
        from components.study import manifest  # noqa: PLC0415
        from components.study.table import import_csv  # noqa: PLC0415

        folder = manifest.found(context.root, name)
        added, known = import_csv(folder, manifest.read(folder), file)
    show(as_json, {"added": added, "known": known}, f"{added} votes are added, {known} were there already")


@study.command(
    "votes", epilog=examples("dp2o study votes votes1", "dp2o study votes votes1 votes2 -o data/votes.parquet")
)
def publish_votes(
    names: Annotated[list[str], typer.Argument(help="Studies that were made with --candidates.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; default: data/votes.parquet.")
    ] = None,
    params: Params = PARAMS,
    as_json: AsJson = False,
) -> None:
    """Publish people's votes on candidates as an input of the stage `pair`, for pair.builder votes."""
    with command("study votes", params, logs=True) as context:
        from components.artifacts import tables  # noqa: PLC0415
        from components.study.training import rows_of_studies  # noqa: PLC0415

        path = output or context.root / paths.VOTES
        rows = rows_of_studies(context.root, names)
        tables.write_rows(path, tables.VOTES, rows)
    groups = len({row["lr_id"] for row in rows})
    text = f"{path}: {len(rows)} votes on candidates of {groups} LR images; set pair.builder to votes to train on them"
    show(as_json, {"file": str(path), "votes": len(rows), "groups": groups}, text)
