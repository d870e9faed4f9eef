"""Settings that hold a secret, and those that must not: params.yaml is committed, and copied to where a stage runs."""

from typing import Annotated

from pydantic import AfterValidator, SecretStr

from components import redaction


def _remember(secret: SecretStr) -> SecretStr:
    redaction.remember(secret.get_secret_value())
    return secret


def _without_password(url: str) -> str:
    if redaction.has_password(url):
        raise ValueError(
            "this URL has a password or token in it, and params.yaml is committed and copied: take it out; the "
            "variables MLFLOW_TRACKING_URI, MLFLOW_TRACKING_USERNAME and _PASSWORD, and AWS_* take it instead"
        )
    return url


Remembered = Annotated[SecretStr, AfterValidator(_remember)]
"""A secret: hidden where settings are shown or logged, and in everything that is told from then on."""
PublicUrl = Annotated[str, AfterValidator(_without_password)]
"""A URL without a secret in it."""
