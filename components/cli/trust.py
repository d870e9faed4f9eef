"""Keys of who may promote, what was signed with them, and serving what was checked."""

import getpass
from pathlib import Path
from typing import Annotated

import typer

from components.cli.context import MODELS, PARAMS, AsJson, Params, command, examples, show
from components.cli.models import versions
from components.errors import BadInput, ExitCode
from components.storage.publish import write_text

commands = typer.Typer()
keys = typer.Typer(no_args_is_help=True, help="Keys of who may promote.")
commands.add_typer(keys, name="keys", rich_help_panel=MODELS)

Promoted = Annotated[
    str | None, typer.Argument(help="name@champion or name/version of the production model; default: the champion.")
]


@keys.command("new", epilog=examples("dp2o keys new ~/.config/dp2o/key.pem"))
def new_key(
    file: Annotated[Path, typer.Argument(help="Where the private key goes; the public one goes to FILE.pub.")],
    name: Annotated[str, typer.Option(help="Whose it is, as gate.signers has it; default: your account's.")] = "",
    as_json: AsJson = False,
) -> None:
    """Make an Ed25519 key, and print the line for gate.signers of params.yaml."""
    with command("keys new"):
        from components.registry import signing  # noqa: PLC0415

        owner, line = name or getpass.getuser(), signing.new_key(file)
    text = (
        f"{file} is the private key: keep it where only who may promote reads it, and name it in "
        f"{signing.KEY_FILE_VARIABLE}\nwhoever decides who may promote adds this to params.yaml:\n\n"
        f"gate:\n  signing: ed25519\n  signers:\n    {owner}: {line}"
    )
    show(as_json, {"file": str(file), "name": owner, "public": line}, text)


@versions.command("attest", epilog=examples("dp2o models attest -o champion.intoto.json"))
def attest(
    version_uri: Promoted = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write; default: stdout.")] = None,
    params: Params = PARAMS,
) -> None:
    """Export what was signed about a promoted version: SLSA provenance (in-toto) in a DSSE envelope."""
    with command("models attest", params) as context:
        from components.registry.attestation import attestation  # noqa: PLC0415

        envelope = attestation(*context.project, version_uri)
        if output is not None:
            write_text(output, envelope + "\n")
    print(envelope if output is None else f"{output} is written; `dp2o models verify --attestation {output}` checks it")


@versions.command(
    "verify",
    epilog=examples(
        "dp2o models verify   (the champion: history, signature, and every file)",
        "dp2o models verify --attestation champion.intoto.json --files downloaded",
    ),
)
def verify(
    version_uri: Promoted = None,
    attestation: Annotated[
        Path | None, typer.Option(help="Check this file by gate.signers instead; no registry is asked.")
    ] = None,
    files: Annotated[
        Path | None, typer.Option(help="With --attestation: folder whose files it must be about, with `model` in it.")
    ] = None,
    params: Params = PARAMS,
    as_json: AsJson = False,
) -> None:
    """Check that a version is what was promoted, and by whom; nothing of it is loaded."""
    with command("models verify", params) as context:
        from components.registry.attestation import verify_file, verify_version  # noqa: PLC0415

        if files is not None and attestation is None:
            raise BadInput("--files belongs to --attestation: say which attestation they are compared with")
        if attestation is not None:
            found = verify_file(context.settings.gate, attestation, files)
        else:
            found = verify_version(*context.project, version_uri)
    who = f"signed with the key of {found.signer}" if found.signer else "not signed (gate.signing: none)"
    what = (
        f"{found.files} files are what was promoted, digest {found.model[:12]}" if found.files else "no files compared"
    )
    show(as_json, found.as_json(), f"{found.what}: {who}; {what}")


@versions.command(
    "sign",
    epilog=examples(
        "dp2o models sign --by ada   (the history so far, and the champion)", "dp2o models sign sr/3 --by ada"
    ),
)
def sign(
    by: Annotated[str, typer.Option(help="Who looked at the history; recorded for good.")],
    version_uri: Annotated[
        str | None,
        typer.Argument(help="An earlier champion, so that one can roll back to it; default: the present one."),
    ] = None,
    reason: Annotated[str, typer.Option(help="Why; recorded for good.")] = "",
    params: Params = PARAMS,
    as_json: AsJson = False,
) -> None:
    """Vouch with your key for a history and a champion that are older than gate.signing, or of a key that is gone."""
    with command("models sign", params, logs=True) as context:
        from components.promote.vouch import vouch  # noqa: PLC0415

        outcome = vouch(*context.project, by, version_uri, reason)
    show(as_json, outcome.as_json(), outcome.text)


@commands.command(
    rich_help_panel=MODELS,
    epilog=examples("dp2o serve -p 5001   (the champion; base64 in, base64 PNG out: the model card has the line)"),
)
def serve(
    version_uri: Annotated[
        str | None, typer.Argument(help="name@alias or name/version; default: the champion of this project.")
    ] = None,
    host: Annotated[str, typer.Option("--host", "-h", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", "-p", help="Port to listen on.")] = 5001,
    workers: Annotated[int, typer.Option("--workers", "-w", min=1, help="Processes, each with the model.")] = 1,
    base: Annotated[
        str, typer.Option(help="Where a ControlNet's frozen model is here: folder or hf://owner/name@revision.")
    ] = "",
    params: Params = PARAMS,
) -> None:
    """Serve a version over HTTP with MLflow's server, after signature and digests have been checked."""
    with command("serve", params, logs=True) as context:
        from components.promote.outcome import watched  # noqa: PLC0415
        from components.registry.models import checked_package  # noqa: PLC0415
        from components.registry.versions import CHAMPION, production_name  # noqa: PLC0415
        from components.serving.server import serve as run_server  # noqa: PLC0415

        name = production_name(context.settings.register_.model_name)
        with watched(context.settings, name):
            found, model = checked_package(*context.project, version_uri or f"{name}@{CHAMPION}")
        typer.echo(f"dp2o serve: {found}", err=True)
        code = run_server(model, host, port, workers, device=context.settings.run.device, base=base)
    if code:
        raise typer.Exit(ExitCode.CRASHED)
