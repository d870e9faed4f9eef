"""What uvicorn runs for `dp2o serve`: MLflow's scoring app on a checked model, behind the limits of a request."""

import os

import mlflow.pyfunc
from mlflow.pyfunc import scoring_server

from components.serving.limited import Limited, invocations
from components.serving.server import FAMILY, FOLDER
from components.settings.families import family_of


def served() -> Limited:
    """The application, with the model loaded; limits are the model's, where variables do not say otherwise.

    Raises:
        BadInput: see `upscaler_of` and `ServingLimits.of`.
    """
    if family := os.environ.get(FAMILY):
        family_of(family)
    model = mlflow.pyfunc.load_model(os.environ[FOLDER])
    limits = model.unwrap_python_model().requests.limits
    return Limited(scoring_server.init(model), limits, invocations(limits))
