"""May a model serve? Measurements of it and of the champion on a frozen set, one row a check."""

import components.registry  # noqa: F401  # its settings of MLflow come before the first import of mlflow
