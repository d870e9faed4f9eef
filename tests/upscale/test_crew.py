"""Several processes restore the same bytes as one, and what ends one of them costs its picture alone."""

from functools import partial
from pathlib import Path

import pytest

from components.errors import BadInput
from components.settings import Settings
from components.upscale.jobs import NAME, Job, find, plan
from components.upscale.making import Maker, MakerOf
from components.upscale.many import Crew, Restoring, Summary
from components.upscale.record import FILE
from components.upscale.size import Size
from tests.made import small_params
from tests.upscale.crew import DEADLY, HUNGRY, risky
from tests.upscale.pictures import file_of, noise


def restored(model: Path, photos: Path, output: Path, count: int) -> Summary:
    found, failed = find([photos], output)
    jobs: list[Job] = plan(found, output, NAME, 4, 0)
    settings = Settings.model_validate(small_params())
    crew = Crew(partial(risky, model, 0), settings, count)
    return Restoring(risky(model, 0), Size(), crew=crew).run(jobs, failed)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*.png")}


def test_the_number_of_workers_changes_no_byte_and_a_death_costs_its_picture(
    model_folder: Path, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name, width in {"a": 16, "b": 8, "d": 12}.items():
        (photos / f"{name}.png").write_bytes(file_of(noise(8, width), "PNG"))
    alone = restored(model_folder, photos, tmp_path / "one", 1)
    (photos / "c.png").write_bytes(file_of(noise(8, DEADLY), "PNG"))
    (photos / "e.png").write_bytes(file_of(noise(8, HUNGRY), "PNG"))
    (photos / "f.jpg").write_bytes(b"no picture")
    several = restored(model_folder, photos, tmp_path / "two", 2)

    names = [str(photos / f"{name}.png") for name in "abd"]
    assert [one.input for one in alone.restored] == [one.input for one in several.restored] == names
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    reasons = {Path(one.name).name: one.reason for one in several.failed}
    assert set(reasons) == {"c.png", "e.png", "f.jpg"}
    assert "killed (SIGKILL)" in reasons["c.png"]
    assert "--workers" in reasons["c.png"]
    assert "not enough memory" in reasons["e.png"]
    assert "unreadable" in reasons["f.jpg"]

    (photos / "c.png").unlink()
    (photos / "e.png").unlink()
    # What the workers recorded, and what is done here by one, are the same to the next run.
    again = restored(model_folder, photos, tmp_path / "two", 1)
    assert (len(again.restored), len(again.skipped), len(again.failed)) == (0, 3, 1)
    lines = [line for line in (tmp_path / "two" / FILE).read_bytes().splitlines() if line]
    assert len(lines) == 3


def test_a_model_that_changed_meanwhile_is_refused(model_folder: Path) -> None:
    """The name in the registry may lead to another version by now; here it is another seed."""
    with pytest.raises(BadInput, match="the model was changed while it was in use"):
        MakerOf(partial(risky, model_folder, 0), Size(), Maker(risky(model_folder, 1), Size()).made_by)()
    assert MakerOf(partial(risky, model_folder, 1), Size(), Maker(risky(model_folder, 1), Size()).made_by)()
