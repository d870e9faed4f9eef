import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.report import browser as chromium
from tests.report.browser import Browser

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        chromium.BINARY is None and "CI" not in os.environ,  # CI installs it: missing there is a failure
        reason="the report was NOT checked in a browser: no chromium in PATH (apt-get install chromium)",
    ),
]


@pytest.fixture(scope="module")
def page(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as opened:
        opened.open(finished / "reports/index.html", width=1280)
        yield opened


def test_it_loads_without_a_complaint_or_a_request(page: Browser) -> None:
    assert page.complaints() == []
    urls = page.requests()
    assert len(urls) == 1
    assert urls[0].startswith("file://")
    assert urls[0].endswith("reports/index.html")


def test_every_picture_has_pixels(page: Browser) -> None:
    script = "Promise.all([...document.images].map(i => (i.loading = 'eager', i.decode().then(() => i.naturalWidth))))"
    widths = page.evaluate(script)
    # sliders of five versions and of the seeds of two, groups of six candidates, and close-ups of both kinds
    assert len(widths) == 3 * (5 + 2) + 2 * (6 + 2) + 18
    assert all(width > 0 for width in widths)


def test_the_slider_moves_with_the_mouse(page: Browser) -> None:
    script = """(() => {
      const stage = document.querySelector('.stage');
      stage.scrollIntoView({block: 'center', behavior: 'instant'});
      const box = stage.getBoundingClientRect();
      return [box.left, box.top, box.width, box.height];
    })()"""
    left, top, width, height = page.evaluate(script)
    page.drag((left + width / 2, top + height / 2), (left + width * 0.2, top + height / 2))
    handle = "document.querySelector('.stage .handle').getBoundingClientRect().left"
    assert page.evaluate(handle) == pytest.approx(left + width * 0.2, abs=0.06 * width)
    clip = page.evaluate("getComputedStyle(document.querySelector('.stage img.over')).clipPath")
    assert float(clip.split()[-1].rstrip("%)")) == pytest.approx(20.0, abs=6.0)


def test_other_versions_can_be_compared(page: Browser) -> None:
    script = """(() => {
      const select = document.querySelector('select[data-side=left]');
      select.value = 'LR';
      select.dispatchEvent(new Event('change'));
      const shown = document.querySelectorAll('.sliders > :first-child img:not([hidden])');
      return [...shown].map(image => image.dataset.version);
    })()"""
    assert page.evaluate(script) == ["LR", "aligned"]
    assert page.evaluate("document.querySelector('.tag.left').textContent") == "LR"


def test_an_image_without_hr_shows_its_lr_and_says_so(page: Browser) -> None:
    script = """(() => {
      document.querySelector('.stage img[data-version=HR]').remove();
      const select = document.querySelector('select[data-side=right]');
      select.value = 'HR';
      select.dispatchEvent(new Event('change'));
      const tags = [...document.querySelectorAll('.tag.right')].map(tag => tag.textContent);
      return [tags, document.querySelector('.stage').clientHeight > 0];
    })()"""
    assert page.evaluate(script) == [["LR", "HR", "HR"], True]


def test_charts_tell_the_values_under_the_pointer(page: Browser) -> None:
    script = """(() => {
      const plot = document.querySelector('#training .plot');
      const box = plot.getBoundingClientRect();
      plot.dispatchEvent(new PointerEvent('pointermove', {clientX: box.right - 5, clientY: box.top + 20}));
      return plot.querySelector('.tip').innerText;
    })()"""
    assert page.evaluate(script).split("\n") == ["step 60", "reward 0.55"]


@pytest.mark.parametrize("width", [1280, 400])
def test_nothing_sticks_out(page: Browser, width: int) -> None:
    page.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
