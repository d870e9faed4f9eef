"""Block `register`: where runs and versions are recorded."""

from pydantic import SecretStr

from components.settings.block import Block
from components.settings.secret import PublicUrl, Remembered


class RegisterSettings(Block):
    """Names and places.

    Attributes:
        reference: store the base's weights with a version, so that what serves it can mix the two.
    """

    experiment: str
    model_name: str
    tracking_uri: PublicUrl
    reference: bool = False
    webhook: Remembered = SecretStr("")
