"""What was signed about a version, as a file that stock tools check, and the check of it."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from components.errors import BadInput
from components.registry import provenance, signing
from components.registry.fetch import find, model_of
from components.registry.provenance import MODEL
from components.registry.tracking import connected
from components.registry.trust import trust_of
from components.registry.versions import CHAMPION, production_name
from components.serving import package
from components.settings import Settings
from components.settings.gate import GateSettings
from components.storage import digests


@dataclass(frozen=True)
class Verified:
    """What a check has shown.

    Attributes:
        what: version or file that was checked.
        signer: name of the key; empty where nothing is signed.
        files: how many files are what was promoted; 0 where none were compared.
        model: digest over the files of the model.
    """

    what: str
    signer: str
    files: int
    model: str

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def attestation(settings: Settings, root: Path, version_uri: str | None = None) -> str:
    """The in-toto statement about a promoted version in its signed envelope (DSSE), one line of JSON.

    Args:
        version_uri: default the champion.

    Raises:
        BadInput: it was not promoted, or nobody signed that.
        HistoryBroken: the history is not what it was.
    """
    with connected(settings.register_, root) as client:
        found = find(client, settings.register_, trust_of(settings.gate, root), version_uri or _champion(settings))
    if found.record is None:
        raise BadInput(f"{found.name} was not promoted by a record that names its files: there is nothing to attest")
    if not found.record.envelope:
        raise BadInput(
            f"record {found.record.number} about {found.name} is not signed: set gate.signing to ed25519 and promote it"
            " again, or `dp2o models sign`"
        )
    return found.record.envelope


def verify_version(settings: Settings, root: Path, version_uri: str | None = None) -> Verified:
    """Check the history, the record of a version and its files; nothing of it is loaded.

    Raises:
        BadInput: it is not what was promoted, or was not.
        HistoryBroken: the history is not what it was.
    """
    with connected(settings.register_, root) as client:
        found = find(client, settings.register_, trust_of(settings.gate, root), version_uri or _champion(settings))
        if found.record is None:
            raise BadInput(f"{found.name} was not promoted by a record that names its files: there is nothing to check")
        copy = model_of(client, found)
    return Verified(found.name, found.record.signer, len(copy.files), digests.of_json(dict(copy.files)))


def verify_file(gate: GateSettings, path: Path, folder: Path | None = None) -> Verified:
    """Check an attestation's signature, and that a folder holds what it is about; no registry is asked.

    Args:
        folder: with the files of the promotion, the model in `model`; None: the signature alone.

    Raises:
        BadInput: no key of gate.signers signed it, or a file is changed, missing or too many.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} cannot be read: {error}") from error
    sealed = signing.unseal(text, provenance.PAYLOAD, gate.signers)
    if sealed is None:
        names = ", ".join(gate.signers) or "which is empty"
        raise BadInput(
            f"{path} is signed by no key of gate.signers ({names}), or was changed: do not use what it is about"
        )
    said = json.loads(sealed.payload)
    if said.get("predicateType") != provenance.PROVENANCE:
        raise BadInput(
            f"{path} is signed by {sealed.signer}, and is no provenance of a model: it says nothing of files"
        )
    wanted = {name: sha for name, sha in provenance.subjects(said).items() if name.startswith(MODEL)}
    if folder is not None:
        have = {name: sha for name, sha in package.files_of(folder).items() if name.startswith(MODEL)}
        differing = sorted(name for name in {*have, *wanted} if have.get(name) != wanted.get(name))
        if differing:
            raise BadInput(f"{folder / differing[0]} is not what {path} is about ({len(differing)} files differ)")
    return Verified(str(path), sealed.signer, len(wanted) if folder is not None else 0, digests.of_json(wanted))


def _champion(settings: Settings) -> str:
    return f"{production_name(settings.register_.model_name)}@{CHAMPION}"
