"""Block `register`: where runs and versions are recorded."""

from pydantic import SecretStr

from components.settings.block import Block
from components.settings.secret import PublicUrl, Remembered


class RegisterSettings(Block):
    experiment: str
    model_name: str
    tracking_uri: PublicUrl
    webhook: Remembered = SecretStr("")
