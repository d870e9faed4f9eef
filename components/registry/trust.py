"""Whom the history of promotions is believed: the settings' signers and anchor."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from components.errors import BadInput
from components.registry import signing
from components.registry.anchor import Anchor, S3Anchor
from components.registry.anchor_git import GitAnchor
from components.settings.gate import GateSettings
from components.storage.s3 import Place

_GIT = "git+"


@dataclass(frozen=True)
class Trust:
    """What a history must show.

    Attributes:
        required: whether records must be signed.
        signers: public keys of who may promote, by name.
        anchor: where the history's end is kept outside the registry; None: nowhere.
    """

    required: bool
    signers: Mapping[str, str]
    anchor: Anchor | None = None

    def key(self) -> tuple[str, Ed25519PrivateKey] | None:
        """Name and private key that this process signs with; None where nothing is signed.

        Raises:
            BadInput: there is none, or it is none of the signers'.
        """
        return signing.private_key(self.signers) if self.required else None

    @property
    def unsigned(self) -> "Trust":
        """The same anchor, and signatures are not asked for."""
        return replace(self, required=False)

    @property
    def lenient(self) -> "Trust":
        """The same signers, of whom nothing is asked."""
        return replace(self, required=False, anchor=None)


UNSIGNED = Trust(required=False, signers={})
"""What `gate.signing: none` means, without an anchor: records hold together by their digests alone."""


def trust_of(gate: GateSettings, root: Path) -> Trust:
    """As the block `gate` of params.yaml says; a git repository's path is relative to `root`.

    Raises:
        BadInput: records must be signed, and nobody may sign.
    """
    required = gate.signing != "none"
    if required and not gate.signers:
        raise BadInput(
            "gate.signing is ed25519 and gate.signers names nobody who may promote: `dp2o keys new` makes a key and "
            "prints the line for params.yaml; or set gate.signing to none, and believe whoever may write the registry"
        )
    return Trust(required, gate.signers, _anchor(gate.anchor, root))


def _anchor(text: str, root: Path) -> Anchor | None:
    if not text:
        return None
    if text.startswith(_GIT):
        repository, _, branch = text.removeprefix(_GIT).rpartition("#")
        local = root / repository
        return GitAnchor(str(local.resolve()) if local.exists() else repository, branch)
    return S3Anchor(Place.parse(text, "gate.anchor"))
