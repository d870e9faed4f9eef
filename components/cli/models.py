"""Look at registered versions."""

from typing import Annotated

import typer

from components.cli.context import MODELS, PARAMS, AsJson, Params, command, examples, print_json, show

commands = typer.Typer()
versions = typer.Typer(no_args_is_help=True, help="Registered model versions.")
commands.add_typer(versions, name="models", rich_help_panel=MODELS)


@versions.command("list", epilog=examples("dp2o models list", "dp2o models list --json | jq -r '.[0].version'"))
def list_models(params: Params = PARAMS, as_json: AsJson = False) -> None:
    """Registered versions, newest first, with their aliases and figures."""
    with command("models list", params) as context:
        from components.registry.models import list_versions  # noqa: PLC0415

        found = list_versions(*context.registry)
    if as_json:
        print_json([version.as_json() for version in found])
        return
    if not found:
        print("no model is registered yet; `dp2o run` or `dp2o register` does it")
    for version in found:
        aliases = " ".join(f"@{alias}" for alias in version.aliases)
        print(f"{version.model} {version.version} {aliases}\n    {version.headline}")


@versions.command(
    "show",
    epilog=examples(
        "dp2o models show   (the candidate of this project)",
        "dp2o models show dp2o-sr-tiny-flow-dev/3",
        "dp2o models show dp2o-sr-tiny-flow@champion --json",
    ),
)
def show_model(
    version_uri: Annotated[
        str | None, typer.Argument(help="name@alias or name/version; default: the settings' model, alias candidate.")
    ] = None,
    params: Params = PARAMS,
    as_json: AsJson = False,
) -> None:
    """Model card of one version: figures with confidence intervals, and what it was made of."""
    with command("models show", params) as context:
        from components.registry.models import show_version  # noqa: PLC0415
        from components.registry.versions import CANDIDATE  # noqa: PLC0415

        version, card = show_version(
            *context.registry, version_uri or f"{context.settings.register_.model_name}@{CANDIDATE}"
        )
    aliases = " ".join(f"@{alias}" for alias in version.aliases) or "no alias"
    text = f"version {version.version} ({aliases}), run {version.run_id}\n\n{card}"
    show(as_json, version.as_json() | {"card": card}, text)


@commands.command(
    rich_help_panel=MODELS,
    epilog=examples(
        "dp2o lineage models:/dp2o-sr-restorer-flow@champion",
        "dp2o lineage dp2o-sr-restorer-flow-dev/3 --json | jq '.steps[].stage'",
    ),
)
def lineage(
    version_uri: Annotated[str, typer.Argument(help="name@alias or name/version, with or without models:/.")],
    params: Params = PARAMS,
    as_json: AsJson = False,
) -> None:
    """Where a version comes from: alias, gate, weights, pairs, scores, candidates, LR, photos, with their digests."""
    with command("lineage", params) as context:
        from components.registry.trace import as_text, trace  # noqa: PLC0415

        found = trace(*context.project, version_uri)
    show(as_json, found.as_json(), as_text(found))
