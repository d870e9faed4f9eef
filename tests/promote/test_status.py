"""What a flow is told of a version on its way."""

from pathlib import Path

import mlflow
import yaml

from components.promote.status import promotion_status
from components.registry.versions import CHAMPION
from components.settings import load_settings
from tests.made import small_params
from tests.promote.test_transaction import NAME, promote


def test_the_champion_is_the_history_s_wherever_somebody_moved_the_alias(
    client: mlflow.MlflowClient, tmp_path: Path
) -> None:
    values = small_params()
    values["register"] |= {"model_name": f"{NAME}-dev", "tracking_uri": mlflow.get_tracking_uri()}
    values["gate"]["signing"] = "none"
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    settings = load_settings(tmp_path / "params.yaml")
    promote(client, 1)
    promote(client, 2)
    client.set_registered_model_alias(NAME, CHAMPION, "1")
    said = [promotion_status(settings, tmp_path, f"{NAME}-dev/{number}") for number in (1, 2)]
    assert [(one.champion, one.is_champion) for one in said] == [(2, False), (2, True)]
    client.delete_registered_model_alias(NAME, CHAMPION)
    assert promotion_status(settings, tmp_path, f"{NAME}-dev/2").is_champion
