"""MLflow: where it is, model versions and their names, and the history of what was promoted."""

import os

# Before any module here imports mlflow. Its telemetry heeds no other spelling than the word.
os.environ["DO_NOT_TRACK"] = "true"
# An unreachable server is said within seconds, not after mlflow's minutes of retries; the user's own values stay.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
