"""Ed25519 keys of who may promote, and signed envelopes (DSSE) that stock tools can check.

The private key is a PEM file (PKCS 8), or its text in an environment variable, so that a Secret can be either. A public
key is one line in params.yaml, `gate.signers`: who reviews params.yaml decides who may promote.
"""

import base64
import binascii
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import CryptoSigner, SSlibKey  # type: ignore[attr-defined]  # it lists no names

from components.errors import BadInput
from components.settings.gate import KEY_KIND

KEY_VARIABLE, KEY_FILE_VARIABLE = "DP2O_SIGNING_KEY", "DP2O_SIGNING_KEY_FILE"
"""The key's text, and its file; the first goes first."""


@dataclass(frozen=True)
class Sealed:
    """What an envelope held, and the name of the key that signed it."""

    payload: bytes
    signer: str


def new_key(path: Path) -> str:
    """Make a pair: `path`, readable by its owner alone, and `<path>.pub`, both PEM.

    The public key as params.yaml has it.

    Raises:
        BadInput: one of the files exists, or cannot be written.
    """
    key = Ed25519PrivateKey.generate()
    public = path.with_name(f"{path.name}.pub")
    try:
        _create(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600)
        _create(public, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), 0o644)
    except FileExistsError as error:
        raise BadInput(f"{error.filename} exists already: name another file; a key is never overwritten") from error
    except OSError as error:
        raise BadInput(f"{error.filename} cannot be written ({error.strerror}): name another file") from error
    return public_line(key.public_key())


def _create(path: Path, content: bytes, mode: int) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def public_line(key: Ed25519PublicKey) -> str:
    """As `gate.signers` of params.yaml has it."""
    return KEY_KIND + base64.b64encode(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()


def private_key(signers: Mapping[str, str]) -> tuple[str, Ed25519PrivateKey]:
    """The key of this process, and its name among `signers`.

    Raises:
        BadInput: there is none, it is no Ed25519 key, or none of `signers`.
    """
    text, place = os.environ.get(KEY_VARIABLE, ""), KEY_VARIABLE
    if not text:
        file = os.environ.get(KEY_FILE_VARIABLE, "")
        if not file:
            raise BadInput(
                f"gate.signing is ed25519, and there is no key to sign with: set {KEY_FILE_VARIABLE} to the file of "
                f"yours, or {KEY_VARIABLE} to its text (`dp2o keys new` makes one)"
            )
        try:
            text, place = Path(file).read_text(), file
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(f"the key {file} of {KEY_FILE_VARIABLE} cannot be read: {error}") from error
    try:
        key = load_pem_private_key(text.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BadInput(f"{place} holds no private key in PEM without a password; `dp2o keys new` makes one") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise BadInput(f"{place} holds a key of another kind than Ed25519; `dp2o keys new` makes one")
    line = public_line(key.public_key())
    names = [name for name, public in signers.items() if public == line]
    if not names:
        raise BadInput(
            f"the key of {place} is none of gate.signers ({', '.join(signers) or 'which is empty'}): whoever decides "
            f"who may promote adds `NAME: {line}` to params.yaml"
        )
    return names[0], key


def seal(key: Ed25519PrivateKey, payload: bytes, payload_type: str) -> str:
    """A signed envelope as one line of JSON."""
    envelope = Envelope(payload, payload_type, {})
    envelope.sign(CryptoSigner(key))
    return json.dumps(envelope.to_dict(), separators=(",", ":"))


def unseal(text: str, payload_type: str, signers: Mapping[str, str]) -> Sealed | None:
    """What an envelope holds, if one of `signers` signed it as this type; None otherwise, whatever `text` is."""
    try:
        envelope = Envelope.from_dict(json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, binascii.Error):
        return None
    if envelope.payload_type != payload_type or not signers:
        return None
    keys = {name: _key(line) for name, line in signers.items()}
    try:
        accepted = envelope.verify(list(keys.values()), 1)
    except (VerificationError, ValueError):
        return None
    return Sealed(envelope.payload, next(name for name, key in keys.items() if key.keyid in accepted))


def _key(line: str) -> SSlibKey:
    return SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(base64.b64decode(line.removeprefix(KEY_KIND))))
