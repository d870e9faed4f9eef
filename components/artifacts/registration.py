"""reports/registration.json: the model version that register made or found."""

from typing import ClassVar

from components.artifacts import paths
from components.artifacts.documents import Document


class Registration(Document):
    """A model version.

    Attributes:
        model: name of the registered model.
        version: its number.
        alias: that points to it.
        run_id: MLflow's run that it was logged by.
        model_digest: sha256 of its weights.
        identity: digest of weights, dataset and settings.
    """

    path: ClassVar = paths.REGISTRATION
    made_by: ClassVar = "register"

    model: str
    version: int
    alias: str
    run_id: str
    model_digest: str
    identity: str
