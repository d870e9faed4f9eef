"""The file MLflow stores as the model's code ("models from code"); the classes come from the installed project."""

from mlflow.models import set_model

from components.serving.pyfunc import ServedUpscaler

set_model(ServedUpscaler())
