"""Who is behind a Service: its EndpointSlices, of `discovery.k8s.io/v1`, or v1beta1 before Kubernetes 1.21."""

from dataclasses import dataclass

from kubernetes.client.exceptions import ApiException

from flows.launchers.api import NOT_FOUND, Api, Json
from flows.launchers.settings import ApiSettings


@dataclass(frozen=True)
class Endpoint:
    """A pod that is ready."""

    address: str
    pod: str
    ports: tuple[int, ...]


class Slices:
    """Reads them as whoever KUBECONFIG names; for several threads."""

    def __init__(self) -> None:
        self._api = Api(ApiSettings(patience=10, request_timeout=5))

    def of(self, service: str, namespace: str) -> list[Endpoint]:
        """Of a Service; none where there is no such Service."""
        query = {"labelSelector": f"kubernetes.io/service-name={service}"}
        for version in ("v1", "v1beta1"):
            path = f"/apis/discovery.k8s.io/{version}/namespaces/{namespace}/endpointslices"
            try:
                found = self._api.request("GET", path, query)
                break
            except ApiException as error:
                if error.status != NOT_FOUND or version == "v1beta1":
                    raise
        return [
            Endpoint(address, (one.get("targetRef") or {}).get("name", ""), _ports(item))
            for item in found.get("items") or ()
            for one in item.get("endpoints") or ()
            if (one.get("conditions") or {}).get("ready", True)
            for address in one["addresses"]
        ]


def _ports(item: Json) -> tuple[int, ...]:
    return tuple(port["port"] for port in item.get("ports") or ())
