"""A branch that is cloned, committed to and pushed, whoever else pushes meanwhile."""

from pathlib import Path

import pytest

from components.errors import BadInput
from flows.checkout import checked_out
from flows.fence import Fence, LostLeaseError, fenced, highest
from tests.flows.made import run


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A bare repository with one commit on `main`."""
    work = tmp_path / "work"
    work.mkdir()
    run(work, "git", "init", "-q", "-b", "main")
    commit(work, "file", "one\n")
    run(tmp_path, "git", "clone", "-q", "--bare", str(work), str(tmp_path / "bare"))
    return tmp_path / "bare"


def commit(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)
    run(root, "git", "add", "-A")
    run(root, "git", "-c", "user.name=test", "-c", "user.email=test@localhost", "commit", "-qm", name)


def elsewhere(repository: Path, folder: Path, name: str, text: str) -> None:
    """Somebody else's push."""
    run(folder, "git", "clone", "-q", str(repository), "other")
    commit(folder / "other", name, text)
    run(folder / "other", "git", "push", "-q", "origin", "HEAD:main")


def test_what_is_saved_is_on_the_branch(repository: Path) -> None:
    with checked_out(str(repository), "main") as checkout:
        (checkout.root / "file").write_text("two\n")
        sha = checkout.save(["file"], "two")
        assert checkout.save(["file"], "nothing changed") is None
    assert run(repository, "git", "rev-parse", "refs/heads/main").strip() == sha
    assert run(repository, "git", "show", "main:file") == "two\n"


def test_other_files_are_rebased_upon(repository: Path, tmp_path: Path) -> None:
    with checked_out(str(repository), "main") as checkout:
        elsewhere(repository, tmp_path, "another", "theirs\n")
        (checkout.root / "file").write_text("two\n")
        checkout.save(["file"], "two")
    assert run(repository, "git", "log", "--format=%s", "main").split() == ["two", "another", "file"]


def test_the_same_file_goes_to_a_branch_of_its_own(repository: Path, tmp_path: Path) -> None:
    with checked_out(str(repository), "main") as checkout:
        elsewhere(repository, tmp_path, "file", "theirs\n")
        (checkout.root / "file").write_text("two\n")
        with pytest.raises(BadInput, match="this run's are on branch dp2o/"):
            checkout.save(["file"], "two")
    assert run(repository, "git", "show", "main:file") == "theirs\n"
    assert run(repository, "git", "for-each-ref", "refs/heads/dp2o")


def test_a_link_that_comes_with_a_rebase_is_refused(repository: Path, tmp_path: Path) -> None:
    with checked_out(str(repository), "main") as checkout:
        run(tmp_path, "git", "clone", "-q", str(repository), "linked")
        (tmp_path / "linked/data").symlink_to("/tmp")
        commit(tmp_path / "linked", "another", "theirs\n")
        run(tmp_path / "linked", "git", "push", "-q", "origin", "HEAD:main")
        (checkout.root / "file").write_text("two\n")
        with pytest.raises(BadInput, match="data on this branch is a link to /tmp"):
            checkout.save(["file"], "two")


@pytest.mark.parametrize("branch", ["--upload-pack=touch PWNED", "none"])
def test_what_is_no_branch_there_is_refused(repository: Path, branch: str) -> None:
    with pytest.raises(BadInput, match="branch"), checked_out(str(repository), branch):
        pass


def fence(number: int, lost: bool = False) -> Fence:
    def check() -> None:
        if lost:
            raise LostLeaseError("another took the lease over")

    return Fence(number, check)


def saved(repository: Path, name: str, holder: Fence | None) -> None:
    with fenced(holder), checked_out(str(repository), "main") as checkout:
        (checkout.root / name).write_text("x\n")
        run(checkout.root, "git", "add", name)
        checkout.save([name], name)


def test_commits_carry_the_holder_and_the_next_one_goes_on(repository: Path) -> None:
    saved(repository, "a", fence(3))
    saved(repository, "b", None)  # a person, or align by itself
    saved(repository, "c", fence(3))
    saved(repository, "d", fence(4))
    shown = run(repository, "git", "log", "--format=%s %(trailers:key=Dp2o-Holder,valueonly,separator=)", "main")
    assert [line.strip() for line in shown.splitlines()] == ["d 4", "c 3", "b", "a 3", "file"]
    with checked_out(str(repository), "main") as checkout:
        assert highest(checkout.root) == 4


def test_a_holder_that_slept_publishes_nothing_over_the_next(repository: Path) -> None:
    with fenced(fence(3)), checked_out(str(repository), "main") as checkout:
        (checkout.root / "late").write_text("x\n")
        saved(repository, "b", fence(4))  # meanwhile; another file, so that a rebase would go through
        with pytest.raises(LostLeaseError, match="holder 4 of the lease has committed"):
            checkout.save(["late"], "late")
    assert "late" not in run(repository, "git", "ls-tree", "--name-only", "main")
    assert not run(repository, "git", "for-each-ref", "refs/heads/dp2o")


def test_who_starts_late_with_an_old_number_publishes_nothing_either(repository: Path) -> None:
    saved(repository, "b", fence(4))
    with pytest.raises(LostLeaseError, match="this is holder 3"):
        saved(repository, "late", fence(3))


def test_the_lease_itself_is_asked_at_every_push(repository: Path) -> None:
    with pytest.raises(LostLeaseError, match="took the lease over"):
        saved(repository, "b", fence(4, lost=True))
    assert run(repository, "git", "log", "--format=%s", "main").split() == ["file"]
