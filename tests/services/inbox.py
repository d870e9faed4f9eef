"""A project whose intake looks into a bucket of a real S3 server."""

import json
from pathlib import Path
from typing import Any

from components.artifacts.retraining import IntakeReport
from components.intake.stage import run_intake
from components.settings import Settings
from components.storage.s3 import Client
from tests.made import write_params


class Inbox:
    """A project whose intake looks under in/ of a bucket."""

    def __init__(self, client: Client, name: str, root: Path, **limits: Any) -> None:
        self.client, self.name, self.root = client, name, root
        root.mkdir(exist_ok=True)
        self.limits = {"source": f"s3://{name}/in/", "quarantine": f"s3://{name}/quarantine/", "settle_seconds": 0.0}
        self.settings = self.configure(**limits)

    def configure(self, **limits: Any) -> Settings:
        self.settings = write_params(self.root, intake=self.limits | {"max_bytes": 200_000} | limits)
        return self.settings

    def put(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=f"in/{key}", Body=data)

    def run(self, **scope: Any) -> IntakeReport:
        limits = self.settings.intake.model_copy(update=scope)
        return run_intake(self.settings.model_copy(update={"intake": limits}), self.root)

    def reasons(self) -> dict[str, dict[str, Any]]:
        """Quarantine records by key."""
        listing = self.client.list_objects_v2(Bucket=self.name, Prefix="quarantine/").get("Contents", [])
        found = {}
        for entry in listing:
            if entry["Key"].endswith("reason.json"):
                record = json.loads(self.client.get_object(Bucket=self.name, Key=entry["Key"])["Body"].read())
                copy = entry["Key"].replace("reason.json", "object")
                record["content"] = self.client.get_object(Bucket=self.name, Key=copy)["Body"].read()
                found[record["key"].removeprefix("in/")] = record
        return found
