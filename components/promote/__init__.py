"""Promote, reject, roll back: what the gate and people decide, recorded first, then done."""

import components.registry  # noqa: F401  # its settings of MLflow come before the first import of mlflow
