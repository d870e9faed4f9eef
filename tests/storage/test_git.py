"""Nothing that others named is taken for an option of git's, and git is called in one place."""

import ast
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.errors import BadInput
from components.storage import git
from tests.made import REPOSITORY


def made(root: Path, *command: str) -> None:
    subprocess.run(["git", *command], cwd=root, check=True, capture_output=True, timeout=300)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A repository with the branches `main` and `work`, and a tag that is called as the first."""
    root = tmp_path / "source"
    root.mkdir()
    made(root, "init", "-q", "-b", "main")
    made(root, "config", "user.name", "test")
    made(root, "config", "user.email", "test@localhost")
    (root / "file").write_text("of the tag\n")
    made(root, "add", "-A")
    made(root, "commit", "-qm", "one")
    made(root, "tag", "main")
    (root / "file").write_text("of the branch\n")
    made(root, "commit", "-qam", "two")
    made(root, "branch", "work", "refs/heads/main")
    return root


@pytest.mark.parametrize(
    "branch", ["--upload-pack=touch${IFS}PWNED;git-upload-pack", "-b", "a..b", "@{-1}", "a b", "", "a:b", "x.lock"]
)
def test_what_is_no_branch_is_refused_and_runs_nothing(
    source: Path, tmp_path: Path, branch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match="no name of a branch"):
        git.clone(str(source), branch, tmp_path / "clone")
    assert not list(tmp_path.rglob("PWNED"))
    assert not (tmp_path / "clone").exists()


@pytest.mark.parametrize("repository", ["--upload-pack=touch PWNED", "ext::sh -c touch% PWNED", "-u./run"])
def test_what_is_no_repository_runs_nothing(repository: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match="cannot be cloned"):
        git.clone(repository, "main", tmp_path / "clone")
    assert not list(tmp_path.rglob("PWNED"))


def test_the_repository_of_a_hook_is_not_touched(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Git names its repository to hooks, and `git rebase --exec` to commands: what is called there has its own."""
    hooked = tmp_path / "hooked"
    made(tmp_path, "init", "-q", str(hooked))
    monkeypatch.setenv("GIT_DIR", str(hooked / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(hooked / ".git/index"))
    monkeypatch.setenv("GIT_WORK_TREE", str(hooked))
    before = sorted(path.relative_to(hooked) for path in hooked.rglob("*"))
    git.clone(str(source), "work", tmp_path / "clone")
    assert (tmp_path / "clone/file").read_text() == "of the branch\n"
    assert sorted(path.relative_to(hooked) for path in hooked.rglob("*")) == before


def test_without_git_no_branch_is_blamed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(BadInput, match="git is not installed"):
        git.heads("main")


def test_a_tag_of_the_same_name_is_not_the_branch(source: Path, tmp_path: Path) -> None:
    git.clone(str(source), "main", tmp_path / "clone")
    assert (tmp_path / "clone/file").read_text() == "of the branch\n"
    assert git.output(tmp_path / "clone", "symbolic-ref", "HEAD") == "refs/heads/main"
    made(source, "tag", "only")
    with pytest.raises(BadInput, match=r"branch only of .* cannot be cloned"):
        git.clone(str(source), "only", tmp_path / "other")


@pytest.mark.parametrize("target", ["../outside", "/etc", "inner", "../../source", ".git/hooks"])
def test_a_link_out_of_the_checkout_is_refused(source: Path, tmp_path: Path, target: str) -> None:
    (source / "inner").symlink_to("../outside" if target == "inner" else "file")  # a link by way of another
    (source / "data").symlink_to(target)
    made(source, "add", "-A")
    made(source, "commit", "-qm", "links")
    with pytest.raises(BadInput, match=r"is a link to .*out of the checkout"):
        git.clone(str(source), "main", tmp_path / "clone")


def test_a_link_within_is_a_link(source: Path, tmp_path: Path) -> None:
    (source / "other").symlink_to("file")
    made(source, "add", "-A")
    made(source, "commit", "-qm", "a link")
    git.clone(str(source), "main", tmp_path / "clone")
    assert os.readlink(tmp_path / "clone/other") == "file"


def test_nobody_is_waited_for(tmp_path: Path) -> None:
    began = time.monotonic()
    done = git.call(tmp_path, "hash-object", "--stdin", seconds=5)  # stdin is empty, not somebody's terminal
    assert done.returncode == 0
    done = git.call(tmp_path, "-c", "alias.wait=!sleep 30", "wait", seconds=0.3)
    assert done.returncode != 0
    assert "no end after" in done.stderr
    assert time.monotonic() - began < 10


def test_git_that_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BadInput, match="git is not installed"):
        git.output(tmp_path, "status")


def starts(tree: ast.AST) -> Iterator[ast.AST]:
    """What a program of that name could be started by: `["git", …]`, and `git …` as a shell's line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.List | ast.Tuple) and node.elts:
            first = node.elts[0]
            if isinstance(first, ast.Constant) and first.value == "git":
                yield node
        if isinstance(node, ast.Call) and node.args:
            called, first = ast.unparse(node.func), node.args[0]
            words = [one.value for one in node.args if isinstance(one, ast.Constant)]
            if "git" in words and called != "shutil.which":
                yield node
            if called.startswith(("subprocess.", "os.")) and isinstance(first, ast.Constant | ast.JoinedStr):
                line = first.value if isinstance(first, ast.Constant) else ast.unparse(first).lstrip("f'\"")
                if str(line).split(" ")[0] == "git":
                    yield node
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [name.name for name in node.names]
            if {name.split(".")[0] for name in names} & {"git", "dulwich", "pygit2"}:
                yield node


def test_nothing_else_calls_git() -> None:
    found = [
        f"{path.relative_to(REPOSITORY)}:{node.lineno}"  # type: ignore[attr-defined]
        for folder in ("components", "flows")
        for path in sorted((REPOSITORY / folder).rglob("*.py"))
        for node in starts(ast.parse(path.read_text()))
        if path != REPOSITORY / "components/storage/git.py"
    ]
    assert not found
    assert list(starts(ast.parse((REPOSITORY / "components/storage/git.py").read_text())))
