"""The run and its figures, lineage and model version in MLflow, and loading the model back."""

import components.registry  # noqa: F401  # its settings of MLflow come before the first import of mlflow
