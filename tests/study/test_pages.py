"""The pages of a study: over HTTP, and in a real browser."""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from components.study import manifest as frozen
from components.study import raters
from components.study.server import MOST_BODY, app_of, server_of
from components.study.votes import VoteLog, read
from components.study.voting import Voting
from tests.report import browser as chromium
from tests.report.browser import PATIENCE, Browser
from tests.study.made import write_study

JSON = {"content-type": "application/json"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_study(tmp_path, photos=6)


def test_only_invited_raters_on_known_hosts_get_anything(folder: Path) -> None:
    ((_, token),) = raters.invite(folder, ["ada"])
    manifest = frozen.read(folder)
    with VoteLog(folder) as log:
        client = TestClient(app_of(folder, manifest, Voting(manifest, log), ["localhost"]), "http://localhost")
        assert client.get(f"/r/{token}/state", headers={"host": "evil.example"}).status_code == 400
        assert client.get("/r/guess/state").status_code == 404
        assert client.get("/r/guess/0/left.png").status_code == 404
        assert client.get("/page.html").status_code == 422
        page = client.get(f"/r/{token}/")
        assert "default-src 'none'" in page.headers["content-security-policy"]
        act = f"/r/{token}/act"
        assert client.post(act, content=b"x" * (MOST_BODY + 1), headers=JSON).status_code == 413
        assert client.post(act, content=b"{}").status_code == 415
        assert client.post(act, content=b"{}", headers=JSON).status_code == 400
        assert client.get(f"/r/{token}/2/left.png").status_code == 404  # two ahead
        ((_, late),) = raters.invite(folder, ["bob"])
        assert client.get(f"/r/{late}/state").json()["done"] == 0  # invited while it is served
    assert token not in (folder / "raters.json").read_text()


def test_nothing_tells_which_model_made_a_picture(folder: Path) -> None:
    ((ada, token),) = raters.invite(folder, ["ada"])
    manifest = frozen.read(folder)
    with VoteLog(folder) as log:
        voting = Voting(manifest, log)
        client = TestClient(app_of(folder, manifest, voting, ["localhost"]), "http://localhost")
        seen = "".join(client.get(path).text for path in (f"/r/{token}/", f"/r/{token}/state", "/page.js", "/page.css"))
        task = voting.task(ada, 0)
        assert task is not None
        comparison = manifest.by_id[task.comparison]
        pictures = {which: client.get(f"/r/{token}/0/{which}.png") for which in ("left", "right", "lr")}
    told = [*manifest.pictures, *manifest.by_id, comparison.lr_id, comparison.photo, "aligned", "psnr"]
    assert [word for word in told if word in seen] == []
    other = "second" if task.left == "first" else "first"
    stems = {"left": comparison.side(task.left).picture, "right": comparison.side(other).picture, "lr": comparison.lr}
    for which, stem in stems.items():
        assert pictures[which].content == (folder / f"pictures/{stem}.png").read_bytes()
        assert not {"etag", "last-modified", "content-disposition"} & set(pictures[which].headers)


@pytest.fixture
def address(folder: Path) -> Iterator[str]:
    """A server at a free port, with one rater."""
    ((_, token),) = raters.invite(folder, ["ada"])
    manifest = frozen.read(folder)
    with VoteLog(folder) as log:
        server = server_of(app_of(folder, manifest, Voting(manifest, log), ["127.0.0.1"]), "127.0.0.1", 0)
        thread = threading.Thread(target=server.run)
        thread.start()
        until = time.monotonic() + PATIENCE
        while not server.started and time.monotonic() < until:
            time.sleep(0.02)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}/r/{token}/"
        server.should_exit = True
        thread.join(PATIENCE)


def shown(page: Browser, what: str) -> None:
    """Wait until a script is true."""
    until = time.monotonic() + PATIENCE
    while not page.evaluate(what):
        assert time.monotonic() < until, f"{what}: {page.evaluate('document.body.innerText')}"
        time.sleep(0.02)


def press(page: Browser, key: str, kinds: tuple[str, ...] = ("keyDown", "keyUp")) -> None:
    for kind in kinds:
        page.call("Input.dispatchKeyEvent", type=kind, key=key)


def progress_is(done: int) -> str:
    return f"document.getElementById('progress').textContent.startsWith('{done} of') && !busy"


def visit(page: Browser, address: str) -> None:
    page.call("Emulation.setDeviceMetricsOverride", width=1000, height=700, deviceScaleFactor=1, mobile=False)
    page.call("Page.navigate", url=address)


@pytest.mark.browser
@pytest.mark.skipif(
    chromium.BINARY is None and "CI" not in os.environ, reason="the study was NOT checked in a browser: no chromium"
)
def test_a_rater_votes_with_the_keys(folder: Path, address: str, tmp_path: Path) -> None:
    with Browser(tmp_path / "profile") as page:
        visit(page, address)
        shown(page, "typeof state !== 'undefined' && state !== null && !busy")
        press(page, "ArrowLeft")
        assert page.evaluate("state.done") == 0  # not before the start
        press(page, "Enter")
        shown(page, "!document.getElementById('stage').hidden && !busy")
        width = page.evaluate("document.getElementById('left').getBoundingClientRect().width")
        assert width == 32 * 8  # whole pixels: the largest zoom
        press(page, "l", ("keyDown",))
        low = "getComputedStyle(document.querySelector('.low')).visibility"
        assert page.evaluate(low) == "visible"
        press(page, "l", ("keyUp",))
        assert page.evaluate(low) == "hidden"
        for done, key in enumerate(("ArrowLeft", "ArrowRight", "ArrowDown"), start=1):
            press(page, key)
            shown(page, progress_is(done))
        press(page, "z")
        shown(page, progress_is(2))
        visit(page, address)  # reload
        shown(page, "typeof state !== 'undefined' && state !== null && !busy")
        assert page.evaluate("state.done") == 2
        total = page.evaluate("state.total")
        for done in range(3, total + 1):
            press(page, "ArrowRight")
            shown(page, progress_is(done))
        assert page.evaluate("document.getElementById('end').hidden") is False
        assert page.complaints() == []
        assert all(url.startswith(address.partition("/r/")[0]) for url in page.requests())
        if folder_of_pictures := os.environ.get("STUDY_PICTURES"):
            page.picture(Path(folder_of_pictures) / "end.png")
    choices = [vote.choice for vote in read(folder).standing]
    assert choices == ["left", "right"] + ["right"] * (total - 2)
