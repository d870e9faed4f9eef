"""What a promoter signs: in-toto statements. Pure.

A promotion's is SLSA provenance, version 1: its subjects are the files of the model, its materials the code, the data
and the settings that they were made of, and the metrics that measured them. Other decisions are statements about their
record alone. Each holds the digest of its record, so that one signature covers both.

Source: https://in-toto.io/Statement/v1, https://slsa.dev/spec/v1.0/provenance
"""

import json
from collections.abc import Mapping
from typing import Any

from components.artifacts import paths

PAYLOAD = "application/vnd.in-toto+json"
"""Type of what is signed, as DSSE names it."""
STATEMENT = "https://in-toto.io/Statement/v1"
PROVENANCE, DECISION = "https://slsa.dev/provenance/v1", "urn:dp2o-sr:decision:v1"
BUILD_TYPE, BUILDER = "urn:dp2o-sr:pipeline:v1", "urn:dp2o-sr:promotion"
RECORD = "record"
MODEL = "model/"
"""Where the model is among the files of a promotion."""


def statement(content: Mapping[str, Any], digest: str) -> dict[str, Any]:
    """The statement about a record.

    Args:
        content: the record's, as plain values; see `ledger.Content`.
        digest: of that.
    """
    record = {"name": RECORD, "digest": {"sha256": digest}}
    if not content["files"]:
        said = {name: content[name] for name in ("kind", "model", "version", "source", "by")}
        return {"_type": STATEMENT, "subject": [record], "predicateType": DECISION, "predicate": said}
    return {
        "_type": STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": sha}} for name, sha in sorted(content["files"].items())],
        "predicateType": PROVENANCE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {"model": content["model"], "version": content["version"]},
                "internalParameters": {"source": content["source"], "settings": content["lineage"].get("dp2o.params")},
                "resolvedDependencies": _materials(content),
            },
            "runDetails": {
                "builder": {"id": BUILDER},
                "metadata": {"invocationId": content["run"]},
                "byproducts": [record, *_metrics(content["lineage"])],
            },
        },
    }


def record_digest(plain: Mapping[str, Any]) -> str:
    """Digest of the record that a statement is about; empty where it names none."""
    found = plain.get("subject", [])
    if plain.get("predicateType") == PROVENANCE:
        found = plain.get("predicate", {}).get("runDetails", {}).get("byproducts", [])
    digests = [entry.get("digest", {}).get("sha256", "") for entry in found if entry.get("name") == RECORD]
    return str(digests[0]) if len(digests) == 1 else ""


def subjects(plain: Mapping[str, Any]) -> dict[str, str]:
    """Hex sha256 of the files that a statement is about."""
    return {str(entry["name"]): str(entry["digest"]["sha256"]) for entry in plain.get("subject", [])}


def _materials(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Code, lock, data and weights that the model was made of, as far as they are known."""
    lineage, made_of = content["lineage"], []
    commit = lineage.get("dp2o.git_commit", "")
    if commit not in ("", "unknown"):
        made_of.append({"name": "code", "digest": {"gitCommit": commit}})
    rows = paths.DATASET_ROWS.as_posix()
    for name, tag in (("dvc.lock", "dvc_lock"), (rows, "dataset"), ("base model", "base_model")):
        sha = lineage.get(f"dp2o.{tag}", "")
        if sha not in ("", "unknown"):
            made_of.append({"name": name, "digest": {"sha256": sha}})
    for name, md5 in sorted(content["inputs"].items()):
        # DVC's digest of a folder is of its listing: no other tool's md5
        made_of.append({"name": name, "digest": {"dvcDirMd5" if md5.endswith(".dir") else "md5": md5}})
    return made_of


def _metrics(lineage: Mapping[str, str]) -> list[dict[str, Any]]:
    try:
        known = json.loads(lineage.get("dp2o.metric_digests", "{}"))
    except ValueError:
        return []
    return [{"name": f"metric {name}", "digest": {"sha256": sha}} for name, sha in sorted(known.items())]
