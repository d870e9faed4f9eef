"""The gate's row on what people said."""

from pathlib import Path

import pytest

from components.gate.people import people, preference, study_digest
from components.settings.gate import GateSettings, StudyLimits
from components.study import manifest as frozen
from components.study.votes import VoteLog
from tests.study.made import votes_of, write_study

LIMITS = StudyLimits(name="trial")
GATE = GateSettings(study=LIMITS, bootstrap=200)


def vote(root: Path, first: float, raters: int = 4) -> None:
    folder = root / "studies/trial"
    manifest = frozen.read(folder)
    with VoteLog(folder) as log:
        for number in range(raters):
            own = dict.fromkeys(manifest.by_id, first) | {f"{number:05d}": 1.0 - first}
            log.append(votes_of(manifest, f"r{number}", number, own))


def row(root: Path, champion: str = "w-base", challenger: str = "w-aligned") -> tuple[str, str]:
    found = people(LIMITS, preference(GATE, LIMITS, root, champion, challenger))
    return found.verdict, found.reason


def test_a_preference_for_the_challenger_passes_and_the_other_way_does_not(tmp_path: Path) -> None:
    write_study(tmp_path, photos=12)
    before = study_digest(LIMITS, tmp_path)
    assert row(tmp_path) == ("no", "there is no vote that counts")
    vote(tmp_path, first=0.0)
    assert study_digest(LIMITS, tmp_path) != before  # other votes are another question
    verdict, reason = row(tmp_path)
    assert verdict == "yes"
    assert reason.startswith("mean 0.917, interval")
    verdict, reason = row(tmp_path, champion="w-aligned", challenger="w-base")
    assert verdict == "no"
    assert reason.startswith("mean 0.083")


def test_what_is_not_known_refuses(tmp_path: Path) -> None:
    assert row(tmp_path)[1].startswith("there is no study trial")
    write_study(tmp_path)
    vote(tmp_path, first=0.0, raters=2)
    assert row(tmp_path) == ("no", "2 raters and 8 photos; at least 3 raters are wanted")
    assert row(tmp_path, challenger="w-other") == ("no", "study trial has no model of the challenger's weights w-other")
    assert people(LIMITS, None).verdict == "no"


def test_without_a_study_the_limits_are_as_they_were() -> None:
    assert "study" not in GateSettings().model_dump(mode="json")
    with pytest.raises(ValueError, match="min_win_rate"):
        StudyLimits(name="trial", min_win_rate=1.5)
