"""What goes and what stays in a project with things in every place, and what happens when it is cut off."""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import mlflow
import pytest
import yaml
from typer.testing import CliRunner

from components.cleaning.collect import Found, collect, look
from components.cli.app import app
from components.errors import BadInput, HistoryBroken, ResumeLater
from components.in_use.folder import LOCK, in_use
from components.in_use.store import using
from components.registry.attestation import verify_version
from components.registry.ledger import CONTENT_TAG
from tests.cleaning.project import MONTH, Project, git, later, make


@dataclass(frozen=True)
class Scene:
    """A project, and by name what must stay and what must go."""

    project: Project
    stay: dict[str, set[str]]
    go: dict[str, set[str]]


def scene(root: Path, database: Path) -> Scene:
    """`main` has the champion's lock, `study` another, a tag a third; a branch that is gone had a fourth."""
    project = make(root, database)
    kept, gone = set(), set()
    kept |= set(project.lock("champion", ["aa", "bb"]))
    project.commit("champion")
    first, champions_run = project.register("champion", "champion")
    project.promote(first, root / "promoted")
    kept |= set(project.lock("tagged"))
    project.commit("tagged")
    git(root, "tag", "-a", "v1", "-m", "kept")
    git(root, "checkout", "-q", "-b", "study", "HEAD~1")
    kept |= set(project.lock("study"))
    project.commit("study")
    git(root, "checkout", "-q", "-b", "given-up", "HEAD~1")
    gone |= set(project.lock("given-up", ["cc"]))
    project.commit("given up")
    second, lost_run = project.register("given-up", "given-up")
    # a lock that no commit has, of a version that people look at: the version alone keeps it
    git(root, "checkout", "-q", "main")
    git(root, "reset", "-q", "--hard", "HEAD~1")
    git(root, "branch", "-D", "given-up")
    third, run = project.register("candidate", "tagged", alias="candidate")
    stays, goes = project.work("aa", "champion"), project.work("cc", "given-up")
    rows = project.keep("rows of a part").md5
    champions = sorted(kept)[0]
    found = project.result("kept", {"data/candidates/a.tar": champions, "data/generate.parts/a.parquet": rows})
    lost = project.result("lost", {"data/candidates/a.tar": project.keep("lost").md5})
    project.stores[1].write("runs/old/logs/log.json", {})
    logs = "runs/old/logs/log.json"
    gone |= {project.keep("lost").md5, project.keep("never recorded").md5}
    return Scene(
        project,
        {"objects": kept | {rows}, "files": {*map(str, stays), f"{root}/remote/dp2o/{found}"},
         "versions": {first, third}, "runs": {champions_run, run}},
        {"objects": gone, "files": {*map(str, goes), *(f"{root}/remote/dp2o/{one}" for one in (lost, logs))},
         "versions": {second}, "runs": {lost_run}},
    )  # fmt: skip


def state(project: Project) -> dict[str, set[str]]:
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("test")
    files = [*(project.root / "cache").rglob("*"), *(project.root / "remote/dp2o").rglob("*")]
    return {
        "objects": set.union(*project.objects()),
        "both": set.intersection(*project.objects()),
        "files": {str(path) for path in files if path.is_file() and LOCK not in path.name},
        "versions": {str(one.version) for one in client.search_model_versions("name = 'sr-dev'")},
        "runs": {run.info.run_id for run in client.search_runs([experiment.experiment_id], run_view_type=3)},
    }


def is_whole(made: Scene) -> None:
    """All that must stay is there, and the champion is what was promoted."""
    now = state(made.project)
    for what, wanted in made.stay.items():
        assert wanted <= now[what], what
    assert made.stay["objects"] <= now["both"]
    assert verify_version(made.project.settings, made.project.root).files == 1


def remove(project: Project, failpoint: Callable[[str], None] = lambda point: None) -> Found:
    return collect(project.settings, project.root, MONTH, lambda found: True, later, failpoint)


@pytest.fixture
def made(tmp_path: Path, empty_database: Path) -> Scene:
    return scene(tmp_path, empty_database)


class Cut(BaseException):
    """As Ctrl-C is none of the errors that code expects."""


def test_what_is_named_stays_the_rest_goes_and_cut_off_anywhere_it_goes_on(made: Scene) -> None:
    project = made.project
    before = state(project)
    found = look(project.settings, project.root, MONTH, later)
    assert state(project) == before
    assert {entry.kind for entry in found.entries} == {"mlflow", "results", "dvc-cache", "dvc-remote", "cache"}
    assert all(entry.size for entry in found.entries if entry.kind != "mlflow" and "log" not in entry.group)
    assert next(entry for entry in found.entries if entry.key.startswith("run|")).size > 0
    # nothing is old yet: work under way is as young as this
    assert look(project.settings, project.root, MONTH).entries == ()
    cuts = 0
    while cuts < 30:
        points: list[str] = []

        def cut(point: str, points: list[str] = points) -> None:
            points.append(point)
            if len(points) > 3:
                raise Cut

        try:
            remove(project, cut)
            break
        except Cut:
            cuts += 1
            is_whole(made)
    assert cuts > 3
    is_whole(made)
    now = state(project)
    for what, unwanted in made.go.items():
        assert not unwanted & now[what], what
    left = [path for path in (project.root / "mlartifacts").rglob("*") if path.is_file()]
    assert left
    assert not [path for path in left if made.go["runs"] & set(path.parts)]
    assert remove(project).entries == ()
    assert state(project) == now


def test_a_broken_history_stops_everything(made: Scene) -> None:
    client = mlflow.MlflowClient()
    client.set_model_version_tag("sr-history", "1", CONTENT_TAG, "{}")
    before = state(made.project)
    with pytest.raises(HistoryBroken):
        remove(made.project)
    assert state(made.project) == before


def test_a_damaged_lock_of_a_branch_stops_everything(made: Scene) -> None:
    root = made.project.root
    git(root, "checkout", "-q", "-b", "broken")
    (root / "dvc.lock").write_text("stages: {a: [")
    made.project.commit("broken")
    git(root, "checkout", "-q", "main")
    with pytest.raises(BadInput, match=r"(?s)dvc.lock of heads/broken is damaged .*nothing is removed"):
        remove(made.project)


def test_nothing_goes_while_somebody_works(made: Scene) -> None:
    project = made.project
    before = state(project)
    with in_use(project.root, project.root / "cache"):
        assert look(project.settings, project.root, MONTH, later).at_work == (f"a run in {project.root}",)
        with pytest.raises(ResumeLater, match="a run is at work"):
            remove(project)
    with using(project.stores[1], "align/blue"):
        assert look(project.settings, project.root, MONTH, later).at_work == ("align/blue",)
        with pytest.raises(ResumeLater, match="align/blue works with"):
            remove(project)
    assert state(project) == before


def test_one_place_alone_never_takes_what_another_place_names(made: Scene) -> None:
    """The free version names the lost run, and the lost result its object: those stay if the former may not go."""
    project = made.project
    only = replace(MONTH, only=("dvc-remote",))
    found = collect(project.settings, project.root, only, lambda found: True, later)
    assert {entry.kind for entry in found.entries} == {"dvc-remote"}
    is_whole(made)
    lost = project.keep("lost").md5
    assert lost in project.objects()[1]


def test_the_command_asks_says_why_and_removes_nothing_by_itself(made: Scene) -> None:
    project = made.project
    before = state(project)
    params = ["--params", str(project.root / "params.yaml")]
    told = CliRunner().invoke(app, ["gc", "--older-than", "0d", "--json", *params])
    assert told.exit_code == 0, told.output
    answer = json.loads(told.stdout)
    assert answer["deleted"] is False
    assert answer["bytes"] == sum(thing["bytes"] for thing in answer["things"]) > 0
    assert "sr-dev/3 (it has an alias)" in answer["kept_by"]
    assert "tags/v1" in answer["kept_by"]
    shown = CliRunner().invoke(app, ["gc", "--older-than", "0d", *params])
    assert "no table of candidates that is kept has it" in shown.stdout
    nobody = CliRunner().invoke(app, ["gc", "--older-than", "0d", "--delete", *params])
    assert (nobody.exit_code, "give --yes" in nobody.stderr) == (2, True)
    assert state(project) == before
    for wrong, says in (
        (["--older-than", "soon"], "is no age"),
        (["--only", "git"], "there is no such place"),
        (["--yes"], "belongs to --delete"),
        (["--project", str(project.root / "cache")], "is no DVC project"),
    ):
        refused = CliRunner().invoke(app, ["gc", *wrong, *params])
        assert (refused.exit_code, says in refused.stderr) == (2, True), refused.output
    done = CliRunner().invoke(app, ["gc", "--older-than", "0d", "--delete", "--yes", *params])
    assert done.exit_code == 0, done.output
    assert "things removed" in done.stdout
    is_whole(made)


@pytest.mark.parametrize("seed", [1, 2])
def test_all_that_dvc_says_is_used_stays_and_what_no_ref_names_goes(
    tmp_path: Path, empty_database: Path, seed: int
) -> None:
    """Branches, tags and commits that nothing names, with files and folders drawn from few."""
    from dvc.repo import Repo  # noqa: PLC0415

    chance, project = random.Random(seed), make(tmp_path, empty_database)
    folders = [project.folder({f"{one}": f"{chance.randint(0, 12)}" for one in range(3)})[0] for _ in range(6)]
    files = [project.keep(str(number)).md5 for number in range(13)]
    for number in range(7):
        name = chance.choice(["one", "two", "three"])
        md5 = chance.choice([*folders, *files])
        out = {"md5": md5, "size": 1, "hash": "md5", "path": name}
        (tmp_path / f"{name}.dvc").write_text(yaml.safe_dump({"outs": [out]}))
        project.commit(f"{number}")
        if chance.random() < 0.4:
            git(tmp_path, "tag", f"t{number}")
        if chance.random() < 0.3:
            git(tmp_path, "branch", f"b{number}")
    git(tmp_path, "reset", "-q", "--hard", "HEAD~3")
    listed = Repo(str(tmp_path)).used_objs(all_branches=True, all_tags=True)
    used = {one.value for objects in listed.values() for one in objects}
    refs = ["HEAD", *git(tmp_path, "for-each-ref", "--format=%(refname)").split()]
    named = set()
    for ref in refs:
        for path in [
            one
            for one in git(tmp_path, "ls-tree", "--name-only", ref).split()
            if one in ("one.dvc", "two.dvc", "three.dvc")
        ]:
            named |= {out["md5"] for out in yaml.safe_load(git(tmp_path, "show", f"{ref}:{path}"))["outs"]}
    for md5 in [one for one in named if one.endswith(".dir")]:
        listing = (tmp_path / ".dvc/cache/files/md5" / md5[:2] / md5[2:]).read_text()
        named |= {row["md5"] for row in json.loads(listing)}
    assert used <= named
    remove(project)
    assert project.objects() == [named, named]
