"""Documents of the contract: read as they were written, and nothing else is read."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from components.artifacts.evaluation import Evaluation
from components.errors import BadInput
from tests.evaluations import LR_ONLY, evaluation


def test_a_document_is_read_as_it_was_written(tmp_path: Path) -> None:
    for document in (evaluation(), evaluation(without_hr=LR_ONLY)):
        document.write(tmp_path)
        assert Evaluation.read(tmp_path) == document
        before = (tmp_path / Evaluation.path).read_bytes()
        Evaluation.read(tmp_path).write(tmp_path)
        assert (tmp_path / Evaluation.path).read_bytes() == before


def test_what_is_not_known_is_left_out(tmp_path: Path) -> None:
    evaluation().write(tmp_path)
    content = json.loads((tmp_path / Evaluation.path).read_text())
    assert "without_hr" not in content
    assert "halves" not in content["anatomy"]


def test_a_document_cannot_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        evaluation().images = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"images": "many"}, "images: Input should be a valid integer"),
        ({"unheard_of": 1}, "unheard_of: Extra inputs are not permitted"),
        ({"reward": {"base": 0.5}}, "reward.aligned: Field required"),
    ],
)
def test_another_content_is_refused_by_its_place(tmp_path: Path, change: dict[str, object], what: str) -> None:
    evaluation().write(tmp_path)
    path = tmp_path / Evaluation.path
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(BadInput, match=rf"evaluation.json is damaged, or of another version \({what}"):
        Evaluation.read(tmp_path)


def test_a_missing_or_cut_document_is_refused_with_the_way_out(tmp_path: Path) -> None:
    assert Evaluation.read_if_there(tmp_path) is None
    with pytest.raises(BadInput, match=r"evaluation.json does not exist: run evaluate first"):
        Evaluation.read(tmp_path)
    evaluation().write(tmp_path)
    path = tmp_path / Evaluation.path
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(BadInput, match=r"is damaged, .* run evaluate again"):
        Evaluation.read_if_there(tmp_path)
