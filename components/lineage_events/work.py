"""The events of one piece of work: START, then COMPLETE, FAIL, or ABORT if it can go on later."""

from __future__ import annotations

import logging
import os
import queue
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.errors import ResumeLater
from components.lineage_events.datasets import of_stage, version_of
from components.redaction import redacted
from components.storage import git
from components.storage.commit import COMMIT_VARIABLE

if TYPE_CHECKING:
    from openlineage.client.event_v2 import InputDataset, OutputDataset, RunEvent

logger = logging.getLogger("dp2o.lineage")

URL, API_KEY, ENDPOINT = "OPENLINEAGE_URL", "OPENLINEAGE_API_KEY", "OPENLINEAGE_ENDPOINT"
NAMESPACE, DEFAULT_NAMESPACE = "OPENLINEAGE_NAMESPACE", "dp2o"
PARENT = "OPENLINEAGE_PARENT_ID"
"""`<namespace>/<job>/<run's UUID>` of what started this work, as other integrations have it."""
SOURCE_COMMIT = "DP2O_SOURCE_COMMIT"
"""Commit of the project, where the work is done in a place without git."""
PRODUCER = "urn:dp2o-sr"
A_REQUEST, LONGEST_WAIT = 2.0, 3.0
"""Seconds for one request, and for which the end of the work waits at the most until all is sent."""
LONGEST_MESSAGE = 2000


@dataclass
class Datasets:
    """What a piece of work reads and makes, as far as it is known.

    Attributes:
        inputs, outputs: names of datasets, each with a version or an empty text.
    """

    inputs: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)


@contextmanager
def work_events(job: str, root: Path, project: str, is_stage: bool = True) -> Iterator[Datasets]:
    """Send the events of the piece of work that runs within. Nothing is sent where no server is named.

    Args:
        job: a stage, or `promote`.
        project: before the names of all data: a registered model's name is the same on every machine.
        is_stage: whether dvc.yaml says what it reads and makes; else whoever does the work adds it.
    """
    # Of processes that train together one sends.
    if not os.environ.get(URL) or os.environ.get("RANK", "0") != "0":
        yield Datasets()
        return
    events = _Events()
    work = _Work(job, root, project, is_stage, events)
    work.send("START")
    try:
        yield work.data
    except ResumeLater as error:
        work.send("ABORT", error)
        raise
    except BaseException as error:
        work.send("FAIL", error)
        raise
    else:
        work.send("COMPLETE")
    finally:
        events.close()


@dataclass
class _Work:
    job: str
    root: Path
    project: str
    is_stage: bool
    events: _Events
    data: Datasets = field(default_factory=Datasets)
    run: str = field(default_factory=lambda: str(uuid.uuid4()))

    def send(self, state: str, error: BaseException | None = None) -> None:
        """Give the event to those who send it. Whatever is wrong with it is no fault of the work."""
        try:
            self.events.put(self._event(state, error))
        except Exception as wrong:  # noqa: BLE001 - sending events must never be what ends it
            self.events.give_up(wrong)

    def _event(self, state: str, error: BaseException | None) -> RunEvent:
        from openlineage.client.event_v2 import Job, Run, RunEvent, RunState  # noqa: PLC0415  # half a second
        from openlineage.client.facet_v2 import error_message_run, parent_run, processing_engine_run  # noqa: PLC0415

        facets: dict[str, Any] = {
            "processing_engine": processing_engine_run.ProcessingEngineRunFacet(_version(), name="dp2o-sr")
        }
        namespace, _, rest = os.environ.get(PARENT, "").partition("/")
        name, _, run = rest.rpartition("/")
        if name and run:
            facets["parent"] = parent_run.ParentRunFacet(parent_run.Run(run), parent_run.Job(namespace, name))
        if error is not None:
            message = redacted(str(error) or type(error).__name__)[:LONGEST_MESSAGE]
            facets["errorMessage"] = error_message_run.ErrorMessageRunFacet(message, "PYTHON")
        inputs, outputs = self._datasets(is_over=state == "COMPLETE")
        return RunEvent(
            eventTime=datetime.now(UTC).isoformat(),
            producer=PRODUCER,
            run=Run(self.run, facets),
            job=Job(_namespace(), self.job, self._source()),
            eventType=RunState[state],
            inputs=inputs,
            outputs=outputs,
        )

    def _source(self) -> dict[str, Any]:
        """Where the project is in git, and its commit."""
        from openlineage.client.facet_v2 import source_code_location_job  # noqa: PLC0415

        known = os.environ.get(SOURCE_COMMIT) or os.environ.get(COMMIT_VARIABLE)
        commit = known or git.call(self.root, "rev-parse", "HEAD").stdout.strip()
        if not commit:
            return {}
        origin = redacted(git.call(self.root, "config", "remote.origin.url").stdout.strip())
        url = origin if "://" in origin else self.root.as_uri()
        return {
            "sourceCodeLocation": source_code_location_job.SourceCodeLocationJobFacet(
                type="git", url=url, version=commit
            )
        }

    def _datasets(self, is_over: bool) -> tuple[list[InputDataset], list[OutputDataset]]:
        from openlineage.client.event_v2 import InputDataset, OutputDataset  # noqa: PLC0415
        from openlineage.client.facet_v2 import dataset_version_dataset  # noqa: PLC0415

        def facets(version: str) -> dict[str, Any]:
            return {"version": dataset_version_dataset.DatasetVersionDatasetFacet(version)} if version else {}

        data = of_stage(self.root, self.job) if self.is_stage else None
        inputs = {self._name(path): version_of(self.root / path) for path in data.inputs} if data else {}
        # What is there before the work is over may be of the time before.
        made_now = data.outputs if data else ()
        outputs = {self._name(path): version_of(self.root / path) if is_over else "" for path in made_now}
        read, made = inputs | self.data.inputs, outputs | self.data.outputs
        return (
            [InputDataset(_namespace(), name, facets=facets(version)) for name, version in read.items()],
            [OutputDataset(_namespace(), name, facets=facets(version)) for name, version in made.items()],
        )

    def _name(self, path: str) -> str:
        return f"{self.project}/{path}"


class _Events:
    """Sends events in their order from a thread of its own, so that nobody waits for a server but at the end."""

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[RunEvent | None] = queue.SimpleQueue()
        self._failed = threading.Event()
        self._client = self._connected()
        self._thread = threading.Thread(target=self._send, name="lineage", daemon=True)
        self._thread.start()

    def put(self, event: RunEvent) -> None:
        """Send it soon."""
        self._waiting.put(event)

    def give_up(self, why: object) -> None:
        """Log once that no event is sent."""
        if not self._failed.is_set():
            self._failed.set()
            logger.warning("no lineage is sent to %s: %s; the work goes on", redacted(os.environ.get(URL, "")), why)

    def close(self) -> None:
        """Wait until all is sent, for so long and no longer."""
        self._waiting.put(None)
        self._thread.join(LONGEST_WAIT)
        if self._thread.is_alive():
            self.give_up(f"no answer within {LONGEST_WAIT:g} s")

    def _connected(self) -> Any:
        """A client, made before any thread is: two threads that import the same modules lock each other out."""
        try:
            return _client()
        except ModuleNotFoundError as error:
            self.give_up(f"{error.name} is not installed: pip install 'dp2o-sr[openlineage]'")
        except Exception as error:  # noqa: BLE001 - of a URL that is none, for example
            self.give_up(error)
        return None

    def _send(self) -> None:
        try:
            while (event := self._waiting.get()) is not None:
                if not self._failed.is_set():
                    self._client.emit(event)
        except Exception as error:  # noqa: BLE001 - as above; the client and its libraries raise what they like
            self.give_up(" ".join(str(error).split())[:300])


def _client() -> Any:
    from openlineage.client import OpenLineageClient, event_v2, facet_v2  # noqa: F401, PLC0415  # half a second
    from openlineage.client.transport.http import ApiKeyTokenProvider, HttpConfig, HttpTransport  # noqa: PLC0415

    given: dict[str, Any] = {"url": os.environ[URL], "timeout": A_REQUEST, "retry": {"total": 0}}
    if endpoint := os.environ.get(ENDPOINT):
        given["endpoint"] = endpoint
    if key := os.environ.get(API_KEY):
        given["auth"] = ApiKeyTokenProvider({"api_key": key})
    logging.getLogger("openlineage").setLevel(logging.ERROR)
    return OpenLineageClient(transport=HttpTransport(HttpConfig(**given)))


def parent_of(job: str, run: str, commit: str) -> dict[str, str]:
    """Environment of processes that a flow run starts; nothing where no server is named.

    Args:
        run: id of the flow run; one that is no UUID is none of Prefect's, and left out.
    """
    if not os.environ.get(URL):
        return {}
    kept = {name: os.environ[name] for name in (URL, NAMESPACE, ENDPOINT) if os.environ.get(name)}
    if commit:
        kept[SOURCE_COMMIT] = commit
    try:
        return kept | {PARENT: f"{_namespace()}/{job}/{uuid.UUID(run)}"}
    except ValueError:
        return kept


def _namespace() -> str:
    return os.environ.get(NAMESPACE) or DEFAULT_NAMESPACE


def _version() -> str:
    try:
        return metadata.version("dp2o-sr")
    except metadata.PackageNotFoundError:
        return "unknown"
