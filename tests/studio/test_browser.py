"""`dp2o studio` as it is started, in a real browser."""

import base64
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.test_commands import invoke
from tests.report import browser as chromium
from tests.report.browser import Browser

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        chromium.BINARY is None and "CI" not in os.environ,
        reason="the studio was NOT checked in a browser: no chromium in PATH (apt-get install chromium)",
    ),
]
PATIENCE = 120.0


@pytest.fixture(scope="module")
def address(project: Path) -> Iterator[str]:
    """Of a studio that runs; its end is checked, too."""
    command = [sys.executable, "-c", "from components.cli import main; main()", "studio", "--port", "0"]
    command += ["--params", str(project / "params.yaml")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+/", line)
        assert found, line + (process.communicate(timeout=PATIENCE)[1] if process.poll() is not None else "")
        yield found[0]
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=PATIENCE)
        assert process.returncode == 130, errors
        assert "Traceback" not in errors


@pytest.fixture(scope="module")
def page(address: str, project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """With three restorations of the photo."""
    with Browser(tmp_path_factory.mktemp("profile")) as opened:
        opened.call("Emulation.setDeviceMetricsOverride", width=1280, height=900, deviceScaleFactor=1, mobile=False)
        opened.call("Page.navigate", url=address)
        until(opened, "(document.getElementById('model')?.textContent ?? '') !== ''")
        choose(opened, project / "photo.png")
        until(opened, "!document.getElementById('go').disabled")
        opened.evaluate("document.getElementById('seeds').value = 3")
        opened.evaluate("document.getElementById('go').click()")
        until(opened, "document.getElementById('doing').textContent.startsWith('restored in')")
        yield opened


def choose(page: Browser, path: Path) -> None:
    root = page.call("DOM.getDocument")["root"]["nodeId"]
    node = page.call("DOM.querySelector", nodeId=root, selector="#file")["nodeId"]
    page.call("DOM.setFileInputFiles", files=[str(path)], nodeId=node)


def until(page: Browser, script: str) -> None:
    end = time.monotonic() + PATIENCE
    while not page.evaluate(script):
        assert time.monotonic() < end, (script, page.evaluate("document.body.innerText"), page.complaints())
        time.sleep(0.05)


def test_nothing_comes_from_elsewhere_and_nothing_complains(page: Browser, address: str) -> None:
    assert page.complaints() == []
    assert all(url.startswith((address, "blob:")) for url in page.requests())


def test_the_variants_have_pictures_and_rewards_the_best_first(page: Browser) -> None:
    until(page, "[...document.querySelectorAll('#variants img')].every(image => image.naturalWidth > 0)")
    told = page.evaluate("[...document.querySelectorAll('#variants .reward')].map(one => one.textContent)")
    rewards = [float(line.split()[-1]) for line in told]
    assert len(rewards) == 3
    assert rewards == sorted(rewards, reverse=True)
    assert page.evaluate("document.querySelector('#variants button').getAttribute('aria-pressed')") == "true"


def test_the_slider_moves_between_bicubic_and_restored(page: Browser) -> None:
    script = """(() => {
      const stage = document.querySelector('.stage');
      stage.scrollIntoView({block: 'center', behavior: 'instant'});
      const box = stage.getBoundingClientRect();
      return [box.left, box.top, box.width, box.height];
    })()"""
    left, top, width, height = page.evaluate(script)
    assert page.evaluate("[...document.querySelectorAll('.stage img:not([hidden])')].map(i => i.dataset.version)") == [
        "aligned",
        "LR",
    ]
    page.drag((left + width / 2, top + height / 2), (left + width * 0.2, top + height / 2))
    clip = page.evaluate("getComputedStyle(document.querySelector('.stage img.over')).clipPath")
    assert float(clip.split()[-1].rstrip("%)")) == pytest.approx(20.0, abs=6.0)
    page.evaluate("""(() => {
      const select = document.querySelector('select[data-side=left]');
      select.value = 'base';
      select.dispatchEvent(new Event('change'));
    })()""")
    assert page.evaluate("document.querySelector('.tag.left').textContent") == "base"


def test_the_download_is_what_the_command_writes(page: Browser, project: Path, tmp_path: Path) -> None:
    page.evaluate("document.querySelector('#variants button[data-seed=\"2\"]').click()")
    command = page.evaluate("document.getElementById('command').textContent")
    assert command == "dp2o upscale photo.png --seed 2"
    script = """fetch(document.getElementById('download').href).then(answer => answer.arrayBuffer()).then(buffer =>
      btoa(String.fromCharCode(...new Uint8Array(buffer))))"""
    output = tmp_path / "seed2.png"
    params = ["--params", str(project / "params.yaml"), "-o", str(output)]
    code, _, errors = invoke("upscale", str(project / "photo.png"), "--seed", "2", *params)
    assert code == 0, errors
    assert base64.b64decode(page.evaluate(script)) == output.read_bytes()
    assert page.evaluate("document.getElementById('download').download") == "photo-x4.png"


def test_a_file_that_is_no_photo_is_told_on_the_page(page: Browser, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.jpg"
    wrong.write_bytes(b"no picture")
    choose(page, wrong)
    until(page, "!document.getElementById('problem').hidden")
    assert "cannot be used" in page.evaluate("document.getElementById('problem').textContent")
    assert page.evaluate("document.getElementById('go').disabled")


@pytest.mark.parametrize("width", [1280, 400])
def test_nothing_sticks_out(page: Browser, width: int) -> None:
    page.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
