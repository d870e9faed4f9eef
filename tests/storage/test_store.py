"""The store as a folder: contents by md5, what is damaged is set aside, and what is away is waited for."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from components.artifacts.shards import ShardReader, write_shard
from components.errors import BadInput, CorruptInput, ResumeLater
from components.storage import inputs
from components.storage.cache import CacheFolder
from components.storage.store import Content, Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(f"file://{tmp_path / 'store'}")


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_objects_are_where_dvc_looks_for_them(store: Store, tmp_path: Path) -> None:
    content = store.keep(written(tmp_path / "a", "hello"))
    md5 = hashlib.md5(b"hello").hexdigest()
    assert content == Content(md5, 5)
    assert (tmp_path / "store/files/md5" / md5[:2] / md5[2:]).read_text() == "hello"
    assert store.has(content)
    assert not store.has(Content(md5, 6))


def test_what_is_there_is_not_put_again(store: Store, tmp_path: Path) -> None:
    file = written(tmp_path / "a", "hello")
    store.keep(file)
    store.keep(file)
    assert store.kept == 5


def test_an_object_that_was_cut_short_is_put_again(store: Store, tmp_path: Path) -> None:
    file = written(tmp_path / "a", "hello")
    content = store.keep(file)
    Path(store.object_path(content.md5)).write_text("hel")
    store.keep(file)
    store.fetch(content, tmp_path / "b")
    assert (tmp_path / "b").read_text() == "hello"


def test_damage_is_refused_and_set_aside(store: Store, tmp_path: Path) -> None:
    content = store.keep(written(tmp_path / "a", "hello"))
    Path(store.object_path(content.md5)).write_text("hallo")
    with pytest.raises(CorruptInput, match="holds something else"):
        store.fetch(content, tmp_path / "b")
    assert not (tmp_path / "b").exists()
    assert not store.has(content)
    assert (tmp_path / "store/dp2o/corrupt" / content.md5).read_text() == "hallo"


def test_a_missing_object_is_named(store: Store, tmp_path: Path) -> None:
    with pytest.raises(CorruptInput, match="0123abcd" * 4):
        store.fetch(Content("0123abcd" * 4, 1), tmp_path / "b")
    with pytest.raises(CorruptInput, match="0123abcd"):
        store.read_object("0123abcd" * 4)


def test_a_damaged_listing_is_refused(store: Store) -> None:
    content = store.keep_bytes(b"[]", ".dir")
    assert store.read_object(content.md5) == b"[]"
    Path(store.object_path(content.md5)).write_text("[1]")
    with pytest.raises(CorruptInput):
        store.read_object(content.md5)


def test_documents(store: Store, tmp_path: Path) -> None:
    assert store.read("tasks/a.json") is None
    url = store.write("tasks/a.json", {"x": 1})
    assert url == f"file://{tmp_path}/store/dp2o/tasks/a.json"
    assert store.read("tasks/a.json") == {"x": 1}
    (tmp_path / "store/dp2o/tasks/a.json").write_text("{")
    assert store.read("tasks/a.json") is None
    assert store.names("tasks") == ["a.json"]
    assert store.names("none") == []
    store.remove("tasks")
    store.remove("tasks")
    assert store.names("tasks") == []


def failing(times: int, error: Exception) -> Callable[[], str]:
    left = [times]

    def call() -> str:
        if left[0]:
            left[0] -= 1
            raise error
        return "answer"

    return call


def test_a_store_that_is_away_is_asked_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("components.storage.store.time.sleep", pauses.append)
    assert store._with_retries(failing(3, ConnectionRefusedError("refused"))) == "answer"
    assert pauses == [0.5, 1.0, 2.0]


def test_a_store_that_stays_away_is_for_later(tmp_path: Path) -> None:
    impatient = Store(f"file://{tmp_path}", patience=0.0)
    with pytest.raises(ResumeLater, match="run the same again"):
        impatient._with_retries(failing(1, ConnectionRefusedError("refused")))


def test_a_refusal_is_the_users(store: Store) -> None:
    with pytest.raises(BadInput, match="AWS_ACCESS_KEY_ID"):
        store._with_retries(failing(1, PermissionError("Forbidden")))


def test_a_full_disk_is_not_waited_for(store: Store) -> None:
    with pytest.raises(OSError, match="No space"):
        store._with_retries(failing(1, OSError(28, "No space left on device")))


def test_an_unknown_kind_of_url(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"s3://bucket/prefix"):
        Store("nothing://here")


def test_caches_share_through_the_store(store: Store, tmp_path: Path) -> None:
    one, other = (CacheFolder(tmp_path / name, store).below("generate", "ab") for name in ("one", "other"))
    file = one.path / "x.group"
    file.parent.mkdir(parents=True)
    file.write_text("candidates")
    one.keep(file)
    assert other.fetch(other.path / "x.group")
    assert (other.path / "x.group").read_text() == "candidates"
    assert not other.fetch(other.path / "y.group")
    assert not CacheFolder(tmp_path / "alone").fetch(tmp_path / "alone/x.group")


def test_shards_are_brought_when_they_are_opened(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "workspace"
    contents = {}
    for name in ("data/a.tar", "data/b.tar"):
        write_shard(tmp_path / name, [("x", name.encode())])
        contents[name] = store.keep(tmp_path / name)
    inputs.list_inputs(root / ".inputs.json", store.url, root, contents)
    monkeypatch.setenv(inputs.VARIABLE, str(root / ".inputs.json"))
    assert ShardReader(root / "data/b.tar").read("x") == b"data/b.tar"
    assert [path.name for path in (root / "data").iterdir()] == ["b.tar"]
    with pytest.raises(BadInput, match=r"c\.tar"):
        ShardReader(root / "data/c.tar")
