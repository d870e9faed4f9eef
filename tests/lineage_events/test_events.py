"""What a server of OpenLineage gets, and that a bad one delays nobody."""

import json
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from components import lineage_events
from components.artifacts.registration import Registration
from components.entry.main import _add_version, run_stage
from components.errors import BadInput, ExitCode, ResumeLater
from components.lineage_events import Datasets, parent_of, work, work_events
from components.lineage_events.datasets import of_stage
from components.stages import STAGES
from components.storage import digests
from tests.made import REPOSITORY, write_params

PIPELINE = """\
stages:
  pair:
    cmd: python -m components.pair
    deps: [components/pair, data/scores.parquet]
    outs: [data/pairs.parquet]
    metrics: [{reports/figures.json: {cache: false}}]
"""


class Recorder(ThreadingHTTPServer):
    """Takes events as a server of OpenLineage does."""

    def __init__(self, answer: int = 201) -> None:
        self.events: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/api/v1/lineage"
                recorder.events.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                recorder.headers.append(dict(self.headers))
                self.send_response(answer)
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorder]:
    for name in (work.PARENT, work.NAMESPACE, work.API_KEY, work.SOURCE_COMMIT, "RANK"):
        monkeypatch.delenv(name, raising=False)
    recorder = Recorder()
    monkeypatch.setenv(work.URL, recorder.url)
    yield recorder
    recorder.shutdown()
    recorder.server_close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "dvc.yaml").write_text(PIPELINE)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/scores.parquet").write_text("scores")
    return tmp_path


def names(event: dict[str, Any], side: str) -> dict[str, str]:
    """Version by name of an event's data."""
    return {one["name"]: one["facets"].get("version", {}).get("datasetVersion", "") for one in event[side]}


def test_a_stage_tells_its_start_and_its_end_with_what_it_read_and_made(
    server: Recorder, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = str(uuid.uuid4())
    for name, value in parent_of("align", run, "c" * 40).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(work.API_KEY, "secret")
    with work_events("pair", root, "sr-dev"):
        (root / "data/pairs.parquet").write_text("pairs")
    start, end = server.events
    assert (start["eventType"], end["eventType"]) == ("START", "COMPLETE")
    assert start["run"]["runId"] == end["run"]["runId"]
    assert (end["job"]["namespace"], end["job"]["name"]) == ("dp2o", "pair")
    assert names(start, "inputs") == {"sr-dev/data/scores.parquet": digests.of_bytes(b"scores")}
    assert names(start, "outputs") == {"sr-dev/data/pairs.parquet": "", "sr-dev/reports/figures.json": ""}
    assert names(end, "outputs")["sr-dev/data/pairs.parquet"] == digests.of_bytes(b"pairs")
    parent = end["run"]["facets"]["parent"]
    assert (parent["run"]["runId"], parent["job"]["name"]) == (run, "align")
    assert end["job"]["facets"]["sourceCodeLocation"]["version"] == "c" * 40
    assert server.headers[0]["Authorization"] == "Bearer secret"
    for event in server.events:  # what the specification requires of a RunEvent
        assert event["schemaURL"].startswith("https://openlineage.io/spec/2-")
        assert {"eventTime", "producer", "run", "job", "inputs", "outputs"} <= event.keys()
        uuid.UUID(event["run"]["runId"])
        for facet in (*event["run"]["facets"].values(), *event["job"]["facets"].values()):
            assert {"_producer", "_schemaURL"} <= facet.keys()


@pytest.mark.parametrize(("error", "state"), [(BadInput("no photos"), "FAIL"), (ResumeLater("saved"), "ABORT")])
def test_how_it_failed(server: Recorder, root: Path, error: Exception, state: str) -> None:
    with pytest.raises(type(error)), work_events("pair", root, "sr-dev"):
        raise error
    assert [event["eventType"] for event in server.events] == ["START", state]
    assert server.events[1]["run"]["facets"]["errorMessage"]["message"] == str(error)


def test_the_stages_own_start_tells(server: Recorder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In a folder without dvc.yaml, as a task's workspace is, the code's own says what is read and made."""
    write_params(tmp_path)
    assert run_stage("pair", tmp_path / "params.yaml") == ExitCode.BAD_INPUT
    start, end = server.events
    model = "dp2o-sr-restorer-flow-dev"
    assert set(names(start, "inputs")) == {f"{model}/data/dataset.parquet", f"{model}/data/scores.parquet"}
    assert f"{model}/data/pairs.parquet" in names(start, "outputs")
    assert end["eventType"] == "FAIL"
    assert end["run"]["facets"]["errorMessage"]["message"] in capsys.readouterr().err


def test_photos_lead_to_the_registered_version_without_a_gap(tmp_path: Path) -> None:
    reached = {"data/photos"}
    for stage in STAGES:
        data = of_stage(REPOSITORY, stage)
        assert reached & set(data.inputs), stage
        assert not [path for path in data.inputs if path.startswith("components")]
        reached |= set(data.outputs)
    chain = ["data/photos", "data/dataset.parquet", "data/candidates.parquet", "data/scores.parquet",
             "data/pairs.parquet", "models/aligned", "reports/registration.json"]  # fmt: skip
    for read, made in pairwise(chain):
        assert any(read in of_stage(REPOSITORY, stage).inputs and made in of_stage(REPOSITORY, stage).outputs
                   for stage in STAGES), (read, made)  # fmt: skip
    Registration(model="sr-dev", version=3, alias="candidate", run_id="r", model_digest="d", identity="i").write(
        tmp_path
    )
    lineage = Datasets()
    _add_version("register", tmp_path, lineage)
    assert lineage.outputs == {"models:/sr-dev/3": "d"}


@pytest.mark.parametrize("kind", ["closed", "silent", "refuses"])
def test_a_bad_server_is_told_of_once_and_delays_nobody(
    kind: str, root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(work, "LONGEST_WAIT", 0.5)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        if kind == "silent":
            listening.listen()
        refusing = Recorder(answer=500) if kind == "refuses" else None
        monkeypatch.setenv(work.URL, refusing.url if refusing else f"http://127.0.0.1:{listening.getsockname()[1]}")
        with work_events("pair", root, "sr-dev"):
            before = time.monotonic()
        took = time.monotonic() - before
        if refusing:
            refusing.shutdown()
            refusing.server_close()
    assert took < work.LONGEST_WAIT + 2  # the machine may be busy; a client's own patience is a minute
    assert sum("no lineage is sent" in record.message for record in caplog.records) == 1


def test_without_a_server_nothing_happens(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(work.URL, raising=False)
    monkeypatch.setattr(work, "_Events", lambda: pytest.fail("nobody asked for events"))
    with work_events("pair", root, "sr-dev"):
        pass
    assert parent_of("align", str(uuid.uuid4()), "c") == {}


def test_a_run_that_is_none_of_prefects_is_no_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(work.URL, "http://lineage")
    assert work.PARENT not in parent_of("align", "4711", "c")
    assert lineage_events.LONGEST_WAIT < 10
