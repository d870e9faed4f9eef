"""What the documents name exists: sections, links, paths, modules, commands and their options."""

import re
from collections.abc import Iterator
from pathlib import Path

from tests.made import REPOSITORY

CODE = ("components", "flows", "recipes", "benchmarks", "scripts", "tests")


def sources() -> Iterator[Path]:
    for folder in CODE:
        yield from sorted((REPOSITORY / folder).rglob("*.py"))


def sections_of(page: str) -> set[int]:
    return {int(number) for number in re.findall(r"^## (\d+)\. ", page, re.MULTILINE)}


def cited(text: str) -> Iterator[tuple[int, bool]]:
    """Numbers of sections that a text takes from the page of the method, and whether it names the page."""
    for page, number in re.findall(r"(docs/method\.md|\bmethod),\s+section\s+(\d+)", text):
        yield int(number), page == "docs/method.md"


def test_every_cited_section_of_the_method_exists() -> None:
    known = sections_of((REPOSITORY / "docs/method.md").read_text())
    found = [(file, *citation) for file in sources() if file != Path(__file__) for citation in cited(file.read_text())]
    assert {number for _, number, _ in found} >= {2, 3, 4, 5}
    assert [file for file, number, named in found if number not in known or not named] == []


def test_citations_are_read_over_line_ends_and_without_the_page() -> None:
    text = "as said (docs/method.md,\nsection 12), and there (method, section 3)"
    assert list(cited(text)) == [(12, True), (3, False)]
    assert sections_of("# Title\n## 1. One\n## Other\n## 2. Two\n") == {1, 2}
