"""The gate's report about a version, and whether it is believed."""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from mlflow.entities.model_registry import ModelVersion

from components.artifacts.gate_report import GateReport, read_report
from components.registry import signing
from components.registry.trust import Trust
from components.registry.versions import GATE_ENVELOPE_TAG, gate_report

PAYLOAD = "application/vnd.dp2o-sr.gate-report+json"
"""Type of a signed report, as DSSE names it."""


def believed_report(version: ModelVersion, trust: Trust) -> GateReport | None:
    """The report that the version carries; where signatures are asked for, only what one of the signers signed.

    Whoever may write the development model may write any text as its report, and a report that holds is not measured
    again.

    Raises:
        BadInput: what it carries is no report.
    """
    if not trust.required:
        return gate_report(version)
    sealed = signing.unseal(version.tags.get(GATE_ENVELOPE_TAG, ""), PAYLOAD, trust.signers)
    if sealed is None:
        return None
    place = f"tag {GATE_ENVELOPE_TAG} of {version.name}/{version.version}"
    report = read_report(sealed.payload.decode(errors="replace"), place)
    return report if report is not None and report.challenger == f"{version.name}/{version.version}" else None


def seal_report(report: GateReport, key: Ed25519PrivateKey) -> str:
    """The report as `believed_report` believes it."""
    return signing.seal(key, report.as_text().encode(), PAYLOAD)
