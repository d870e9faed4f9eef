"""Orders, the log, what counts as a vote, the table, and the result."""

import json
from collections import Counter
from pathlib import Path

import pytest

from components.errors import BadInput
from components.study import manifest as frozen
from components.study import raters
from components.study.manifest import check_pictures
from components.study.order import tasks_of
from components.study.result import result_of
from components.study.table import as_csv, import_csv
from components.study.text import as_text
from components.study.votes import VOTES, VoteLog, read
from components.study.voting import Refused, Voting
from tests.study.made import votes_of, write_study


def test_order_and_sides_are_each_raters_own(tmp_path: Path) -> None:
    manifest = frozen.read(write_study(tmp_path, photos=20))
    one, other = tasks_of(manifest, "ada", 0), tasks_of(manifest, "bob", 1)
    assert one == tasks_of(manifest, "ada", 0)
    assert [task.comparison for task in one] != [task.comparison for task in other]
    assert Counter(task.kind for task in one) == {"pair": 20, "check": 3, "repeat": 2}
    before = {task.comparison: task for task in one if task.kind == "pair"}
    for task in one:
        if task.kind == "repeat":
            assert task.left != before[task.comparison].left
            assert task.number > before[task.comparison].number + 3
    lefts = Counter(task.left for number in range(40) for task in tasks_of(manifest, f"rater-{number}", number))
    assert abs(lefts["first"] / lefts.total() - 0.5) < 0.05  # 1000 coins: three standard errors


def test_parts_give_every_comparison_as_many_votes(tmp_path: Path) -> None:
    manifest = frozen.read(write_study(tmp_path, photos=12, per_rater=4))
    tasks = [task for number in range(6) for task in tasks_of(manifest, f"r{number}", number) if task.kind == "pair"]
    assert set(Counter(task.comparison for task in tasks).values()) == {2}


def test_a_changed_study_is_refused(tmp_path: Path) -> None:
    folder = write_study(tmp_path)
    manifest = frozen.read(folder)
    check_pictures(folder, manifest)
    picture = next((folder / "pictures").iterdir())
    picture.write_bytes(b"else")
    with pytest.raises(BadInput, match=f"{picture.name} is not what was frozen"):
        check_pictures(folder, manifest)
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"ties": true', '"ties": false'))
    with pytest.raises(BadInput, match="is not what was frozen"):
        frozen.read(folder)


def request(number: int, revision: int, choice: str, key: str = "") -> bytes:
    body = {"id": key or f"key-{number}-{revision}-{choice}", "revision": revision, "task": number, "choice": choice}
    return json.dumps(body).encode()


def test_requests_count_once_and_in_their_turn(tmp_path: Path) -> None:
    folder = write_study(tmp_path)
    ((ada, _),) = raters.invite(folder, ["ada"])
    with VoteLog(folder) as log:
        voting = Voting(frozen.read(folder), log)
        first = request(0, 0, "left")
        assert voting.act(ada, first)["task"] == 1
        assert voting.act(ada, first)["task"] == 1  # the same once more
        for late in (request(0, 0, "right"), request(1, 0, "left"), request(2, 1, "left"), request(1, 1, "undo")):
            with pytest.raises(Refused) as refused:
                voting.act(ada, late)
            assert refused.value.status == 409
        assert voting.act(ada, request(0, 1, "undo"))["task"] == 0
        assert voting.act(ada, first)["task"] == 0  # comes late, and was counted already
        assert voting.act(ada, request(0, 2, "tie"))["task"] == 1
        for bad in (b"[]", request(1, 3, "both"), request(-1, 3, "left")):
            with pytest.raises(Refused) as refused:
                voting.act(ada, bad)
            assert refused.value.status == 400
        assert voting.task(ada, 2) is not None
        assert voting.task(ada, 3) is None
        with pytest.raises(BadInput, match="is open in another process"), VoteLog(folder):
            pass
    assert [(vote.task, vote.choice) for vote in read(folder).standing] == [(0, "tie")]
    with VoteLog(folder) as log:  # another server goes on
        assert Voting(frozen.read(folder), log).state(ada)["task"] == 1


def test_a_torn_last_line_is_left_out_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = write_study(tmp_path)
    votes = votes_of(frozen.read(folder), "ada", 0, dict.fromkeys(frozen.read(folder).by_id, 1.0))
    with VoteLog(folder) as log:
        log.append(votes[:2])
    path = folder / VOTES
    path.write_bytes(path.read_bytes() + b'{"rater": "ada", "ta')
    assert len(read(folder).standing) == 2
    assert "the last line has no end" in caplog.text
    with VoteLog(folder) as log:
        log.append(votes[2:3])
    assert len(read(folder).standing) == 3
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([lines[0], b"nonsense", *lines[1:]]))
    with pytest.raises(BadInput, match=r"votes\.jsonl, line 2 is no vote"):
        read(folder)


def test_who_fails_checks_is_excluded_and_both_figures_are_shown(tmp_path: Path) -> None:
    manifest = frozen.read(write_study(tmp_path, photos=10))
    second, first = (dict.fromkeys(manifest.by_id, value) for value in (0.0, 1.0))
    votes = votes_of(manifest, "ada", 0, second) + votes_of(manifest, "bob", 1, second)
    votes += votes_of(manifest, "cat", 2, first, checks=False)
    found = result_of(manifest, votes, "v", resamples=200)
    assert found.excluded == ["cat"]
    assert found.kept.pairs[0].win_rate.mean == 0.0
    assert found.everyone.pairs[0].win_rate.mean == pytest.approx(1 / 3)
    assert (found.kept.alpha, found.kept.self_agreement.mean, found.kept.votes) == (1.0, 1.0, 20)
    assert [one.agreement.mean for one in found.kept.metrics] == [1.0]  # psnr is higher in the second
    text = as_text(manifest, found)
    assert "base over aligned" in text
    assert "1 of 3 are: cat" in text
    assert "all raters (3 raters, 30 votes)" in text


def test_votes_leave_and_come_back_as_a_table(tmp_path: Path) -> None:
    folder = write_study(tmp_path)
    manifest = frozen.read(folder)
    votes = votes_of(manifest, "ada", 0, dict.fromkeys(manifest.by_id, 0.0))
    table = tmp_path / "votes.csv"
    table.write_text(as_csv(manifest, votes))
    assert import_csv(folder, manifest, table) == (len(votes), 0)
    assert import_csv(folder, manifest, table) == (0, len(votes))
    back = read(folder).standing
    assert [(v.task, v.first, v.kind) for v in back] == [(v.task, v.first, v.kind) for v in votes]
    with pytest.raises(BadInput, match="ada is invited already"):
        raters.invite(folder, ["ada"])


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("left,left", "left,both", "row 2: choice: Input should be"),
        ("ada,0,", "ada,x,", "row 2: .*invalid literal"),
        ("ada,0,0", "ada,0,9", "row 2: study trial has no comparison"),
        ("comparison", "other", "lacks the columns comparison"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_whole(tmp_path: Path, before: str, after: str, message: str) -> None:
    folder = write_study(tmp_path, checks=0)
    manifest = frozen.read(folder)
    made = votes_of(manifest, "ada", 0, dict.fromkeys(manifest.by_id, 1.0))
    text = as_csv(manifest, made)
    if before == "left,left":
        choice = f"{made[0].left},{made[0].choice}"
        before, after = choice, f"{made[0].left},both"
    table = tmp_path / "votes.csv"
    table.write_text(text.replace(before, after, 1))
    with pytest.raises(BadInput, match=message):
        import_csv(folder, manifest, table)
    assert read(folder).entries == []
