"""Who does what a message of a study says gets on."""

from pathlib import Path

import pytest

from components.errors import BadInput
from components.study import manifest as frozen
from components.study.making import free_folder
from components.study.table import as_csv, import_csv
from components.study.votes import VOTES, VoteLog, read
from tests.study.made import votes_of, write_study


def test_who_does_what_a_study_says_gets_on(tmp_path: Path) -> None:
    folder = write_study(tmp_path)
    manifest = frozen.read(folder)
    with pytest.raises(BadInput, match="give another name"):
        free_folder(folder.parents[1], folder.name)
    assert not free_folder(folder.parents[1], "another").exists()
    with pytest.raises(BadInput, match="give a name of letters"):
        free_folder(folder.parents[1], "../up")

    votes = votes_of(manifest, "ada", 0, dict.fromkeys(manifest.by_id, 1.0))
    with VoteLog(folder) as log:
        with pytest.raises(BadInput, match="end that one"), VoteLog(folder):
            pass
        log.append(votes[:2])
    with VoteLog(folder) as log:
        log.append(votes[2:3])

    path = folder / VOTES
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([lines[0], b"nonsense", *lines[1:]]))
    with pytest.raises(BadInput, match="remove the line"):
        read(folder)
    path.write_bytes(b"\n".join(lines))
    assert len(read(folder).standing) == 3


def test_who_mends_a_table_gets_on(tmp_path: Path) -> None:
    folder = write_study(tmp_path)
    manifest = frozen.read(folder)
    table = tmp_path / "votes.csv"
    text = as_csv(manifest, votes_of(manifest, "ada", 0, dict.fromkeys(manifest.by_id, 0.0)))
    table.write_bytes(text.encode("utf-16"))
    with pytest.raises(BadInput, match="give a CSV table in UTF-8"):
        import_csv(folder, manifest, table)
    table.write_text(text.replace("comparison", "other", 1))
    with pytest.raises(BadInput, match="shows how a table looks"):
        import_csv(folder, manifest, table)
    table.write_text(text)
    assert import_csv(folder, manifest, table)[0] > 0
