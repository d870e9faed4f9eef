"""What the documents name exists: sections, links, paths, modules, commands with their options, deployments."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
import yaml
from typer.core import TyperCommand, TyperGroup

from components.cli.app import app
from tests.made import REPOSITORY

CODE = ("components", "flows", "recipes", "benchmarks", "scripts", "tests")
NAMED = (*CODE, "k8s", "docs", "presets", "launch", "data/photos", ".ci")
"""Folders below which a path in a document must exist; others are made by a run."""
README_LINES = 120

PAGES = sorted(
    [
        *REPOSITORY.glob("*.md"),
        *(REPOSITORY / "docs").rglob("*.md"),
        *(REPOSITORY / "components").rglob("*.md"),
    ]
)
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(REPOSITORY).as_posix())


def sources() -> Iterator[Path]:
    for folder in CODE:
        yield from sorted((REPOSITORY / folder).rglob("*.py"))


def sections_of(page: str) -> set[int]:
    return {int(number) for number in re.findall(r"^## (\d+)\. ", page, re.MULTILINE)}


def cited(text: str) -> Iterator[tuple[int, bool]]:
    """Numbers of sections that a text takes from the page of the method, and whether it names the page."""
    for page, number in re.findall(r"(docs/method\.md|\bmethod),\s+section\s+(\d+)", text):
        yield int(number), page == "docs/method.md"


def code_of(text: str) -> Iterator[str]:
    """Lines of code blocks, and code within lines."""
    fence = re.compile(r"^ *```[^\n]*\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
    for block in fence.findall(text):
        yield from (line.strip() for line in block.replace("\\\n", " ").splitlines())
    yield from (" ".join(span.split()) for span in re.findall(r"`([^`]+)`", fence.sub("", text)))


def anchors_of(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(text: str, page: Path) -> list[str]:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = link.partition("#")
        if re.match(r"https?:", link):
            continue
        target = (page.parent / path) if path else page
        if not target.exists() or (anchor and anchor not in anchors_of(target)):
            broken.append(link)
    return broken


def missing_paths(text: str) -> list[str]:
    """Paths below NAMED folders that are not there. `*` is any name; a path with <a name to fill in> is passed by."""
    without_addresses = re.sub(r"\w+://\S+", "", text)
    start = "|".join(re.escape(folder) for folder in NAMED)
    found = re.findall(rf"(?<![\w./<-])((?:{start})/[\w./*<>…-]*)", without_addresses)
    paths = [path.rstrip(".") for path in found if not re.search("[<>…]", path)]
    return [path for path in paths if not any(REPOSITORY.glob(path.rstrip("/")))]


def missing_tests(text: str) -> list[str]:
    """Tests named `tests/….py::test_…` that are not there; a file that is not is one of missing_paths."""
    wrong = []
    for path, name in re.findall(r"(tests/[\w/]+\.py)::(\w+)", text):
        file = REPOSITORY / path
        if file.exists() and not re.search(rf"^def {name}\(", file.read_text(), re.MULTILINE):
            wrong.append(f"{path}::{name}")
    return wrong


def unshown(text: str) -> list[str]:
    """Rows of tables with the columns `cannot` and `test` that say what somebody cannot do, and name no test."""
    wrong, columns = [], list[str]()
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        columns = cells if "cannot" in cells else columns if cells else []
        if not {"cannot", "test"} <= set(columns) or cells == columns or set(line) <= set("|- "):
            continue
        row = dict(zip(columns, [*cells, *[""] * len(columns)], strict=False))
        if row["cannot"] and "::test_" not in row["test"]:
            wrong.append(line)
    return wrong


def missing_modules(text: str) -> list[str]:
    names = re.findall(r"-m ((?:components|flows|recipes|benchmarks)(?:\.\w+)*)(?![\w.]*<)", text)
    return [name for name in names if not _runs(REPOSITORY / name.replace(".", "/"))]


def _runs(place: Path) -> bool:
    return place.with_suffix(".py").exists() or (place / "__main__.py").exists()


def unknown_commands(text: str) -> list[str]:
    """Calls of `dp2o` and `make` in code whose command or option does not exist."""
    targets = set(re.findall(r"^([a-z]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    wrong = []
    for line in code_of(text):
        for call in re.split(r"\s#\s|;|&&|\|\|", line):
            words = _words(call)
            if words[:1] == ["make"] and not {word for word in words[1:2] if "=" not in word} <= targets:
                wrong.append(call)
            if words[:1] == ["dp2o"] and not _known(typer.main.get_command(app), words[1:]):
                wrong.append(call)
    return wrong


def _words(call: str) -> list[str]:
    try:
        words = shlex.split(call)
    except ValueError:
        words = call.split()
    while words and re.fullmatch(r"\w+=\S*", words[0]):
        words = words[1:]
    return words


def _known(command: TyperCommand | TyperGroup, words: list[str]) -> bool:
    if isinstance(command, TyperGroup) and words and not words[0].startswith("-"):
        inner = command.commands.get(words[0])
        return inner is not None and _known(inner, words[1:])
    options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    return {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)} <= options | {"--help"}


def test_every_cited_section_of_the_method_exists() -> None:
    known = sections_of((REPOSITORY / "docs/method.md").read_text())
    found = [(file, *citation) for file in sources() if file != Path(__file__) for citation in cited(file.read_text())]
    assert {number for _, number, _ in found} >= {2, 3, 4, 5}
    assert [file for file, number, named in found if number not in known or not named] == []


def test_citations_are_read_over_line_ends_and_without_the_page() -> None:
    text = "as said (docs/method.md,\nsection 12), and there (method, section 3)"
    assert list(cited(text)) == [(12, True), (3, False)]
    assert sections_of("# Title\n## 1. One\n## Other\n## 2. Two\n") == {1, 2}


def test_readme_can_be_read_in_one_go() -> None:
    text = (REPOSITORY / "README.md").read_text()
    assert text.count("\n") <= README_LINES
    assert len(re.findall(r"^!\[", text, re.MULTILINE)) >= 2
    assert not [line for line in text.splitlines() if len(line) > 150 and not line.startswith("| ")]


def test_every_page_of_docs_is_linked_from_readme() -> None:
    linked = set(re.findall(r"\]\(docs/(\w+\.md)\)", (REPOSITORY / "README.md").read_text()))
    assert {page.name for page in (REPOSITORY / "docs").glob("*.md")} == linked


@pytest.mark.parametrize("page", [p for p in PAGES if p.parent.name == "docs"], ids=lambda page: page.name)
def test_every_page_says_first_whom_it_is_for(page: Path) -> None:
    paragraphs = [part for part in page.read_text().split("\n\n")[1:] if not part.startswith("![")]
    assert re.match(r"For \w+", paragraphs[0])


@each_page
def test_what_a_page_names_exists(page: Path) -> None:
    text = page.read_text()
    assert broken_links(text, page) == []
    assert missing_paths(text) == []
    assert missing_tests(text) == []
    assert missing_modules(text) == []
    assert unknown_commands(text) == []


def test_whatever_an_attacker_cannot_do_is_shown_by_a_test() -> None:
    assert unshown((REPOSITORY / "docs/security.md").read_text()) == []


def test_deployments_that_pages_start_exist() -> None:
    deployments = yaml.safe_load((REPOSITORY / "prefect.yaml").read_text())["deployments"]
    known = {f"{one['entrypoint'].partition(':')[2]}/{one['name']}" for one in deployments}
    started = {name for page in PAGES for name in re.findall(r"prefect deployment run (\w+/\w+)", page.read_text())}
    assert started
    assert started <= known


def test_what_does_not_exist_is_found() -> None:
    page = REPOSITORY / "docs/method.md"
    assert broken_links("[a](nowhere.md) [b](#5-loss) [c](#6-loss) [d](pairs.md#weights) [e](https://x)", page) == [
        "nowhere.md",
        "#6-loss",
        "pairs.md#weights",
    ]
    assert missing_paths("`components/nowhere.py`, components/<stage>, components/*/stage.py, flows/.") == [
        "components/nowhere.py"
    ]
    here = "tests/test_documents.py::test_what_does_not_exist_is_found"
    assert missing_tests(f"`{here}`, `{here}_either`, tests/nowhere.py::test_x") == [f"{here}_either"]
    table = "| who | cannot | test |\n|---|---|---|\n| a | b | `t.py::test_c` |\n| | d | t.py |\n| e | | |\n"
    assert unshown(f"{table}\n| f | g |\n|---|---|\n| h | i |\n") == ["| | d | t.py |"]
    assert missing_modules(
        "python -m components.nowhere; python -m components.<stage>; python -m components.train"
    ) == ["components.nowhere"]
    shown = (
        "```\ndp2o run  # x\ndp2o walk\nA=1 dp2o upscale x --fast\nmake demo\nmake tea\nkubectl -n dp2o get x\n```\n"
    )
    assert unknown_commands(shown + "and `dp2o models burn`, `dp2o models list`, `dp2o --help`") == [
        "dp2o walk",
        "A=1 dp2o upscale x --fast",
        "make tea",
        "dp2o models burn",
    ]
