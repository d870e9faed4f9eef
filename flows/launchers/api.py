"""Requests to the Kubernetes API, as plain JSON, tried again as long as that can help.

The official client does configuration, credentials and connections. Objects stay dicts: making its models of a
thousand pods at each change costs more than all else a launcher does.
"""

import json
import logging
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import tenacity
import urllib3
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

from components.errors import BadInput
from flows.launchers.settings import ApiSettings

Json = dict[str, Any]
Answer = TypeVar("Answer")

LOGGER = logging.getLogger(__name__)

TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
TRANSIENT = {0, 408, 429, 500, 502, 503, 504}
"""Status codes after which the same request may succeed; 0 is a failed TLS handshake."""
GONE, NOT_FOUND, CONFLICT, FORBIDDEN, UNAUTHORIZED, BAD_REQUEST, INVALID = 410, 404, 409, 403, 401, 400, 422


class ApiUnavailableError(Exception):
    """The API server has not answered for longer than the settings allow."""


def load_configuration() -> client.Configuration:
    """From the pod's service account, else from KUBECONFIG.

    Raises:
        BadInput: there is neither.
    """
    configuration = client.Configuration()
    try:
        if "KUBERNETES_SERVICE_HOST" in os.environ and TOKEN.exists():
            config.load_incluster_config(client_configuration=configuration)
        else:
            config.load_kube_config(client_configuration=configuration)
    except config.ConfigException as error:
        raise BadInput(
            f"no access to Kubernetes: {error}; run in a pod with a service account, or set KUBECONFIG"
        ) from error
    return configuration


def reason_of(error: Exception) -> str:
    """The server's own words, without headers."""
    if not isinstance(error, ApiException):
        return f"{type(error).__name__}: {error}"
    try:
        return str(json.loads(error.body or "")["message"])
    except (ValueError, KeyError, TypeError):
        return f"{error.status} {error.reason}"


def is_transient(error: BaseException) -> bool:
    """Whether trying again can help."""
    if isinstance(error, ApiException):
        return error.status in TRANSIENT
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return False
    return isinstance(error, (urllib3.exceptions.HTTPError, ConnectionError, TimeoutError))


def retry_after(error: BaseException | None) -> float:
    """Seconds the server asks to wait; 0 if it does not."""
    headers = error.headers if isinstance(error, ApiException) else None
    try:
        return max(0.0, float((headers or {}).get("Retry-After") or 0))
    except ValueError:  # a date, which API servers do not send
        return 0.0


class Api:
    """The API server, for several threads.

    Attributes:
        calls: requests made, by `VERB resource`, for those who want to know what a run costs the server.
    """

    def __init__(self, timing: ApiSettings, configuration: client.Configuration | None = None) -> None:
        configuration = configuration or load_configuration()
        # Pauses and limits are decided here alone; a stopped server is noticed by keep-alive.
        configuration.retries = urllib3.Retry(total=0)
        configuration.keep_alive = True
        configuration.connection_pool_maxsize = 4 * timing.parallel
        self.host = str(configuration.host)
        self._client = client.ApiClient(configuration)
        self._timing = timing
        self._gate = threading.BoundedSemaphore(timing.parallel)
        self._counting = threading.Lock()
        self.calls: Counter[str] = Counter()
        pauses = tenacity.wait_random_exponential(multiplier=timing.first_pause, max=timing.longest_pause)
        self._retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(is_transient),
            stop=tenacity.stop_after_delay(timing.patience),
            wait=lambda state: max(pauses(state), retry_after(state.outcome.exception() if state.outcome else None)),
            before_sleep=self._tell,
        )

    def request(self, verb: str, path: str, query: Json | None = None, body: Json | None = None) -> Json:
        """The answer to one request, which must be harmless to repeat.

        Raises:
            ApiException: the server says no.
            ApiUnavailableError: it has not answered for `patience` seconds.
        """
        return self._with_retries(lambda: self.once(verb, path, query, body))

    def once(self, verb: str, path: str, query: Json | None = None, body: Json | None = None) -> Json:
        """The same, tried once.

        Raises:
            ApiException: the server says no.
            urllib3.exceptions.HTTPError, OSError: it cannot be reached.
        """
        with self._gate, self._answer(verb, path, query, body, self._timing.request_timeout) as answer:
            value: Json = json.loads(answer.data or b"{}")
            return value

    def _with_retries(self, once: Callable[[], Answer]) -> Answer:
        try:
            return self._retrying.copy()(once)
        except tenacity.RetryError as error:
            last = error.last_attempt.exception()
            raise self.unavailable(last if isinstance(last, Exception) else None) from last

    def _tell(self, state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, Exception):
            LOGGER.warning("the Kubernetes API at %s: %s; trying again", self.host, reason_of(error))

    def unavailable(self, last: Exception | None) -> ApiUnavailableError:
        """The error for those who have waited long enough."""
        return ApiUnavailableError(
            f"the Kubernetes API at {self.host} has not answered for {self._timing.patience:g} s"
            f" ({'no error was seen' if last is None else reason_of(last)}). Jobs that run go on; when the server is "
            "back, run the flow again, and it finds them"
        )

    @contextmanager
    def stream(self, path: str, query: Json, silence: float) -> Iterator["Lines"]:
        """The answer's lines as they come, tried once.

        Args:
            silence: seconds without a byte after which the connection counts as dead.
        """
        with self._answer("GET", path, query, None, silence) as answer:
            yield Lines(answer)

    @contextmanager
    def _answer(
        self, verb: str, path: str, query: Json | None, body: Json | None, silence: float
    ) -> Iterator[urllib3.HTTPResponse]:
        words = path.split("/")
        kind = next((word for word in ("log", "events", "pods", "jobs") if word in words[-3:]), words[-1])
        watching = "WATCH" if (query or {}).get("watch") else verb
        with self._counting:
            self.calls[f"{watching} {kind}"] += 1
        headers = {"Accept": "application/json, */*"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        parameters = self._client.param_serialize(
            verb,
            path,
            query_params=list((query or {}).items()),
            header_params=headers,
            body=body,
            auth_settings=["BearerToken"],
        )
        answer = self._client.call_api(*parameters, _request_timeout=(self._timing.request_timeout, silence)).response
        try:
            if not 200 <= answer.status < 300:
                error = ApiException(status=answer.status, reason=answer.reason)
                error.headers = answer.headers
                error.body = (answer.data or b"").decode(errors="replace")
                raise error
            yield answer
        finally:
            answer.close()  # a connection whose answer was read to its end is back in the pool already

    def close(self) -> None:
        """Give back the connections."""
        self._client.rest_client.close()


class Lines:
    """Lines of a stream that another thread can cut off."""

    def __init__(self, answer: urllib3.HTTPResponse) -> None:
        self._answer = answer

    def __iter__(self) -> Iterator[str]:
        """The lines; one that a broken connection cut short is dropped."""
        rest = b""
        for piece in self._answer.stream():
            *whole, rest = (rest + piece).split(b"\n")
            for line in whole:
                yield line.decode(errors="replace")
        if rest:
            yield rest.decode(errors="replace")

    def cut(self) -> None:
        """End the reading, from any thread."""
        with suppress(OSError, ValueError, RuntimeError):  # it has ended already
            self._answer.shutdown()
