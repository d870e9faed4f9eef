"""Block `register`: where runs and versions are recorded."""

from components.settings.block import Block


class RegisterSettings(Block):
    experiment: str
    model_name: str
    tracking_uri: str
    webhook: str = ""
