"""The page: everything it says as one dataclass, and its HTML."""

from dataclasses import dataclass
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from components.artifacts.evaluation import Evaluation
from components.judge.diagnosis import Finding
from components.pages.charts import Chart
from components.report.comparison import ControlRow, MetricTable, PeerRow
from components.report.groups import GroupView
from components.report.mixtures import Mixtures
from components.report.verdict import Figure, Verdict


@dataclass(frozen=True)
class Slider:
    """One test image in every version: `versions` maps a version's name to its data URI."""

    lr_id: str
    source: str
    gain: str
    style: str
    detail: str
    versions: dict[str, str]


@dataclass(frozen=True)
class CloseupView:
    """A close-up: why it is shown, what it is of, and its squares' data URIs by version."""

    why: str
    source: str
    detail: str
    squares: dict[str, str]


@dataclass(frozen=True)
class Reason:
    """Items set aside for one reason, with a few examples."""

    stage: str
    reason: str
    count: int
    examples: list[str]


@dataclass(frozen=True)
class Page:
    """Content of the report, ready to print."""

    verdict: Verdict
    figures: list[Figure]
    evaluation: Evaluation
    metrics: dict[str, MetricTable]
    peer_headings: list[str]
    peers: list[PeerRow]
    controls: list[ControlRow]
    mixtures: Mixtures
    anatomy: list[str]
    spread: Chart
    validation: list[Chart]
    training: list[Chart]
    findings: list[Finding]
    sliders: list[Slider]
    versions: list[str]
    closeups: list[CloseupView]
    closeup_rule: str
    deviation_note: str
    groups: list[GroupView]
    builder: str
    pair_count: int
    splits: list[tuple[str, int, int]]
    candidate_count: int
    quarantine: list[Reason]
    lineage: list[tuple[str, str]]
    settings: str


def html(page: Page) -> str:
    """One HTML document with style, script and pictures inside; it asks for nothing else.

    Raises:
        jinja2.UndefinedError: the template names what `page` lacks.
    """
    environment = Environment(
        loader=PackageLoader("components.report", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    own, shared = resources.files("components.report") / "page", resources.files("components.pages")
    style = Markup((own / "page.css").read_text() + (shared / "slider.css").read_text())
    script = Markup((own / "page.js").read_text() + (shared / "slider.js").read_text())
    return environment.get_template("page.html").render(page=page, style=style, script=script)
