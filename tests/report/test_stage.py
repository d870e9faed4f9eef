import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from components.artifacts.shards import Shard
from components.errors import BadInput
from components.report.stage import run
from tests.report.project import build, settings


class Links(HTMLParser):
    """Collects whatever a browser would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attributes if name in ("src", "href", "srcset", "data", "poster")]


def test_the_page_holds_everything_it_needs(finished: Path) -> None:
    text = (finished / "reports/index.html").read_text()
    links = Links()
    links.feed(text)
    assert links.found
    assert all(link.startswith(("data:", "#")) for link in links.found)
    assert len(text) < 8_000_000


def test_the_page_shows_every_part(finished: Path) -> None:
    text = (finished / "reports/index.html").read_text()
    assert text.count('<figure class="slider">') == 3
    assert text.count('<article class="group">') == 2
    assert text.count('alt="candidate') == 2 * 6
    assert len(re.findall(r'<td style="--share', text)) == 2 * 2 * 2  # N x N weights of two groups
    for words in ("truncated", "Validation reward", "Implicit accuracy", "bicubic", "base model", "beta: 150.0"):
        assert words in text, words
    assert "&lt;ends after 12 bytes&gt;" in text, "text from files is escaped"


def test_closeups_stand_beside_the_rule_that_chose_them(finished: Path) -> None:
    text = (finished / "reports/index.html").read_text()
    assert 2 <= text.count('<article class="closeup">') <= 4
    for words in ("A rule chooses them", "Largest gain", "edian", "contradict the reward", "seeds, aligned"):
        assert words in text, words
    plain = {"gain", "best_mean_worst", "validation", "training", "closeups"}
    names = {path.name for path in (finished / "reports/figures").iterdir()}
    assert names == {f"{name}.{kind}" for name in plain for kind in ("svg", "png")}


def test_two_runs_give_the_same_bytes(finished: Path) -> None:
    before = (finished / "reports/index.html").read_bytes()
    run(settings(), finished)
    assert (finished / "reports/index.html").read_bytes() == before


def test_plot_data_for_dvc(finished: Path) -> None:
    lines = (finished / "reports/plots/best_mean_worst.csv").read_text().splitlines()
    assert lines[0] == "model,samples,best,mean,worst"
    assert [line.split(",")[:2] for line in lines[1:]] == [
        [model, size] for model in ("base", "aligned") for size in ("1", "2", "3")
    ]


def test_a_run_without_losers_has_a_page(tmp_path: Path) -> None:
    used = settings(pair={"builder": "winners_only", "top": 2}, train={"objective": "winners_only"})
    root = build(tmp_path, used)
    run(used, root)
    assert "This builder uses no losers" in (root / "reports/index.html").read_text()


def test_bad_inputs_are_named(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="report cannot be sharded"):
        run(settings(), finished, Shard(0, 2))
    with pytest.raises(BadInput, match=r"evaluation.json does not exist: run evaluate first"):
        run(settings(), tmp_path)
    training = finished / "reports/training.csv"
    whole = training.read_text()
    training.write_text(whole.replace("margin", "edge"))
    with pytest.raises(BadInput, match=r"reports/training.csv has 60 rows and lacks the columns \['margin'\]"):
        run(settings(), finished)
    training.write_text(whole)
