"""What whoever controls the store can write into it, and what a part and a flow make of it."""

import hashlib
import json
import logging
from pathlib import Path

import pytest

from components.errors import BadInput, CorruptInput
from components.storage.store import Content, Store, md5_of
from components.task.document import Input, Result, Task, as_input, read_result, read_task
from components.task.seal import part_key
from components.task.workspace import bring_inputs

RUN_KEY = b"k" * 32


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(f"file://{tmp_path / 'store'}")


def task_of(store: Store, *inputs: Input) -> Task:
    task = Task(stage="train", store=store.url, params="{}", inputs=list(inputs), outputs=["models/aligned"])
    store.write(task.key, task.model_dump(mode="json"))
    return task


def kept(store: Store, tmp_path: Path, text: str) -> Content:
    (tmp_path / "file").write_text(text)
    return store.keep(tmp_path / "file")


def folder_of(store: Store, relpath: str, content: Content) -> Input:
    rows = json.dumps([{"md5": content.md5, "relpath": relpath}]).encode()
    return Input(path="data/x", md5=store.keep_bytes(rows, ".dir").md5, size=1, origin="store")


@pytest.mark.parametrize("relpath", ["../../outside", "/tmp/outside", "a/../../../outside", "../x.tar"])
def test_a_listing_writes_nothing_outside_the_workspace(store: Store, tmp_path: Path, relpath: str) -> None:
    root = tmp_path / "deep/workspace"
    root.mkdir(parents=True)
    entry = folder_of(store, relpath, kept(store, tmp_path, "evil"))
    with pytest.raises(BadInput, match="the listing of data/x: path"):
        bring_inputs(task_of(store, entry), store, root)
    assert not list(tmp_path.rglob("outside"))
    assert not Path("/tmp/outside").exists()


@pytest.mark.parametrize("path", ["../outside", "/tmp/outside", "components/errors.py"])
def test_an_input_writes_nothing_outside_the_workspace(store: Store, tmp_path: Path, path: str) -> None:
    root = tmp_path / "workspace"
    root.mkdir()
    content = kept(store, tmp_path, "evil")
    honest = task_of(store, as_input("data/x", content))
    entry = honest.inputs[0].model_copy(update={"path": path})  # past the model's own look
    with pytest.raises(BadInput, match="the task names the path"):
        bring_inputs(honest.model_copy(update={"inputs": [entry]}), store, root)
    document = honest.model_dump(mode="json")
    document["inputs"][0]["path"] = path
    store.write(honest.key, document)
    with pytest.raises(BadInput, match=r"was changed|is not of this version"):
        read_task("train", honest.url)


def test_what_comes_with_the_code_is_there_by_its_link(store: Store, tmp_path: Path) -> None:
    code = Input(path="components/pair", md5="0" * 32 + ".dir", size=1, origin="image")
    photos = Input(path="data/photos", md5="0" * 32 + ".dir", size=1, origin="image")
    assert bring_inputs(task_of(store, code, photos), store, tmp_path) == {}
    assert (tmp_path / "components/pair/stage.py").is_file()
    assert (tmp_path / "data/photos").is_symlink()


def test_an_object_is_named_by_its_md5_alone(store: Store, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    for name in ("../../../secret", "ab/../../x", "0" * 31, "Z" * 32):
        with pytest.raises(BadInput, match="is no md5"):
            store.fetch(Content(name, 1), tmp_path / "target")
    with pytest.raises(BadInput, match="leads out"):
        store.read("../secret")


@pytest.mark.parametrize("change", [{"params": "{train: {beta: 0}}"}, {"outputs": ["dvc.yaml"]}, {"commit": "0"}])
def test_a_task_that_was_changed_under_its_key_is_refused(store: Store, change: dict[str, object]) -> None:
    task = task_of(store)
    assert read_task("train", task.url)[0] == task
    store.write(task.key, task.model_dump(mode="json") | change)
    with pytest.raises(BadInput, match=r"was changed: its content is that of tasks/train-"):
        read_task("train", task.url)


def test_sums_are_of_the_key_and_do_not_name_the_result(store: Store, tmp_path: Path) -> None:
    known = as_input("data/x", kept(store, tmp_path, "x"))
    plain = known.model_copy(update={"sha256": {}})
    with_sums, without = task_of(store, known), task_of(store, plain)
    assert with_sums.result_key(with_sums.invocation()) == without.result_key(without.invocation())
    assert with_sums.key != without.key
    store.write(with_sums.key, without.model_dump(mode="json"))
    with pytest.raises(BadInput, match="was changed"):
        read_task("train", with_sums.url)


def test_a_task_from_another_store_is_of_the_one_that_it_is_in(store: Store) -> None:
    task = task_of(store)
    store.write(task.key, task.model_dump(mode="json") | {"store": "s3://evil/store"})
    assert read_task("train", task.url)[0].store == store.url


def test_a_forged_result_counts_as_none(store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    task = task_of(store)
    place = task.result_key(task.invocation())
    own, other = part_key(RUN_KEY, place), part_key(RUN_KEY, task.result_key(task.invocation("gather")))
    content = kept(store, tmp_path, "weights")
    result = Result(outputs={"models/aligned/x": (content.md5, content.size, content.sha256)})
    evil = kept(store, tmp_path, "evil weights")
    forged = Result(outputs={"models/aligned/x": (evil.md5, evil.size, evil.sha256)})
    true = result.sealed(own, place)
    for document in (
        forged,
        forged.model_copy(update={"seal": true.seal}),
        forged.model_copy(update={"seal": "é\ud800"}),
        forged.sealed(other, place),  # by another part of the same run
        true.model_copy(update={"figures": {"seconds_running": 0.0}}),
    ):
        store.write(place, document.model_dump(mode="json"))
        with caplog.at_level(logging.WARNING):
            assert read_result(store, task, task.invocation(), own) is None
        assert "is not sealed by this run's key" in caplog.text
    store.write(place, true.model_dump(mode="json"))
    assert read_result(store, task, task.invocation(), own) == true
    store.write(task.result_key(task.invocation("gather")), true.model_dump(mode="json"))  # the same at another place
    assert read_result(store, task, task.invocation("gather"), other) is None


@pytest.mark.parametrize("path", ["../dvc.yaml", "/etc/passwd", ".git/hooks/pre-push"])
def test_a_result_outside_the_project_counts_as_none(store: Store, tmp_path: Path, path: str) -> None:
    task = task_of(store)
    place = task.result_key(task.invocation())
    content = kept(store, tmp_path, "x")
    store.write(place, {"outputs": {path: [content.md5, content.size, content.sha256]}})
    assert read_result(store, task, task.invocation()) is None


def test_another_content_of_the_same_md5_is_refused(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """md5 is made to collide, as for whoever has an hour: it sees the first bytes alone."""

    class Weak:
        def __init__(self) -> None:
            self.seen = b""

        def update(self, value: bytes) -> None:
            self.seen += value

        def hexdigest(self) -> str:
            return hashlib.md5(self.seen[:4], usedforsecurity=False).hexdigest()

    monkeypatch.setattr("components.storage.store._md5", Weak)
    honest = kept(store, tmp_path, "same honest")
    (tmp_path / "evil").write_text("same evil!!")
    evil = md5_of(tmp_path / "evil")
    assert (evil.md5, evil.size) == (honest.md5, honest.size)
    assert evil.sha256 != honest.sha256
    Path(store.object_path(honest.md5)).write_text("same evil!!")
    root = tmp_path / "workspace"
    root.mkdir()
    with pytest.raises(CorruptInput, match="holds something else"):
        bring_inputs(task_of(store, as_input("data/x", honest)), store, root)
    assert not (root / "data/x").exists()
    assert not store.has(honest)  # it was set aside, and is made again


def test_a_listing_with_another_file_is_refused(store: Store, tmp_path: Path) -> None:
    entry = folder_of(store, "more.txt", kept(store, tmp_path, "x"))
    recorded = entry.model_copy(update={"sha256": {"x.txt": "0" * 64}})
    root = tmp_path / "workspace"
    root.mkdir()
    with pytest.raises(CorruptInput, match=r"names other files than were recorded: more.txt, x.txt"):
        bring_inputs(task_of(store, recorded), store, root)
