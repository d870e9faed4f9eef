"""Tasks by their real child processes: parts from a store give the bytes of one run over all, and only what is needed
is brought."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from components.artifacts.shards import Shard
from components.errors import BadInput, ExitCode
from components.generate.stage import run
from components.stages.invocation import Invocation
from components.storage.dvc_hash import listing
from components.storage.store import Store, md5_of
from components.task.child import command, overrides
from components.task.document import Input, Task, read_result
from components.task.run import run_task
from components.task.workspace import check_code
from tests.made import REPOSITORY, write_dataset, write_params

pytestmark = pytest.mark.slow

M, SHARDS = 3, 2


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Path:
    root = tmp_path_factory.mktemp("project")
    shutil.copytree(tiny_folder, root / "weights")
    write_dataset(root, ["align"] * 3 + ["validation", "test"])
    write_params(
        root,
        backbone={"path": "weights", "steps": 1},
        generate={"candidates": M, "batch": 2, "shards": SHARDS},
        pair={"top": 1},
        score={"fr": [], "nr": ["rank_nss"], "held_out": ["psnr"]},
    )
    return root


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(f"file://{tmp_path / 'store'}")


def given(root: Path, store: Store, path: str) -> Input:
    """An input of the project, kept in the store."""
    target = root / path
    if target.is_file():
        content = store.keep(target)
        return Input(path=path, md5=content.md5, size=content.size, origin="store")
    files = {file.relative_to(target).as_posix(): store.keep(file) for file in target.rglob("*") if file.is_file()}
    md5 = store.keep_bytes(listing(files)[0], ".dir").md5
    return Input(path=path, md5=md5, size=sum(content.size for content in files.values()), origin="store")


def task_of(root: Path, store: Store, stage: str, inputs: list[str], outputs: list[str]) -> Task:
    task = Task(
        stage=stage,
        store=store.url,
        params=(root / "params.yaml").read_text(),
        inputs=[given(root, store, path) for path in inputs],
        outputs=outputs,
    )
    store.write(task.key, task.model_dump(mode="json"))
    return task


def generating(root: Path, store: Store) -> Task:
    inputs = ["data/dataset", "data/dataset.parquet", "weights"]
    return task_of(root, store, "generate", inputs, ["data/candidates", "data/candidates.parquet"])


def url(store: Store, task: Task) -> str:
    assert task.store == store.url
    return task.url


def test_parts_and_their_gathering_give_the_bytes_of_one_run(
    project: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DP2O_WORKSPACE", str(tmp_path / "workspace"))
    task = generating(project, store)
    made: dict[str, str] = {}
    for index in range(SHARDS):
        shard = Shard(index, SHARDS)
        log = f"runs/1/logs/{index}.log"
        assert (
            run_task(Invocation("generate", task=url(store, task), shard=shard, action="publish", log=log))
            == ExitCode.OK
        )
        result = read_result(store, task, task.invocation("publish", shard))
        assert result is not None
        assert set(result.outputs) == {
            f"data/candidates/{shard.name}.tar",
            f"data/candidates.parts/{shard.name}.parquet",
        }
        made |= {path: md5 for path, (md5, *_) in result.outputs.items()}
        assert "candidates made" in Path(f"{tmp_path}/store/dp2o/{log}").read_text()
    assert list((tmp_path / "workspace").iterdir()) == []
    rows = [
        Input(path=path, md5=md5, size=0, origin="store")
        for path, md5 in sorted(made.items())
        if path.endswith("parquet")
    ]
    joined = task.model_copy(update={"inputs": [*task.inputs, *rows]})
    store.write(joined.key, joined.model_dump(mode="json"))
    assert run_task(Invocation("generate", task=url(store, joined), action="gather")) == ExitCode.OK
    gathered = read_result(store, joined, joined.invocation("gather"))
    assert gathered is not None
    made |= {path: md5 for path, (md5, *_) in gathered.outputs.items()}

    whole = tmp_path / "whole"
    shutil.copytree(project, whole)
    from components.settings import load_settings  # noqa: PLC0415

    run(load_settings(whole / "params.yaml"), whole)
    files = [whole / "data/candidates.parquet", *(whole / "data/candidates").iterdir()]
    assert {file.relative_to(whole).as_posix(): md5_of(file).md5 for file in files} == {
        path: md5 for path, md5 in made.items() if ".parts/" not in path
    }

    # made before: the second time there is nothing to do, and no child is started
    monkeypatch.setattr("components.task.run.run_child", lambda *_: pytest.fail("it ran again"))
    assert (
        run_task(Invocation("generate", task=url(store, task), shard=Shard(0, SHARDS), action="publish")) == ExitCode.OK
    )


def test_a_damaged_input_has_its_own_exit_code(project: Path, store: Store) -> None:
    task = generating(project, store)
    (tar,) = (project / "data/dataset").iterdir()
    place = Path(store.object_path(md5_of(tar).md5))
    place.write_bytes(b"x" * tar.stat().st_size)
    code = run_task(Invocation("generate", task=url(store, task), shard=Shard(0, SHARDS), action="publish"))
    assert code == ExitCode.CORRUPT_INPUT
    assert not place.exists()
    assert read_result(store, task, task.invocation("publish", Shard(0, SHARDS))) is None


def test_a_stopped_task_asks_to_be_resumed(project: Path, store: Store, tmp_path: Path) -> None:
    task = generating(project, store)
    line = [
        sys.executable,
        "-m",
        "components.generate",
        "--shard",
        f"0/{SHARDS}",
        "--publish",
        "--task",
        url(store, task),
    ]
    environment = os.environ | {"DP2O_WORKSPACE": str(tmp_path / "workspace"), "PYTHONPATH": str(REPOSITORY)}
    process = subprocess.Popen(line, env=environment, cwd=tmp_path)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "workspace").glob("*/.inputs.json")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.5)  # the child is being started now
    process.send_signal(signal.SIGTERM)
    assert process.wait(120) == ExitCode.RESUME


def test_an_image_of_another_commit_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], store: Store
) -> None:
    task = Task(
        stage="pair",
        store=store.url,
        params="",
        inputs=[Input(path="components/pair", md5="0" * 32 + ".dir", size=1, origin="image")],
        outputs=[],
    )
    store.write(task.key, task.model_dump(mode="json"))
    assert run_task(Invocation("pair", task=url(store, task))) == ExitCode.BAD_INPUT
    assert "build the image from that commit" in capsys.readouterr().err
    with pytest.raises(BadInput, match="is not in this image"):
        check_code([Input(path="data/none", md5="0" * 32, size=1, origin="image")], tmp_path)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("file:///nowhere", "is no document of a store"),
        ("{store}/dp2o/tasks/none.json", "there is no such document"),
        ("{store}/dp2o/tasks/odd.json", "is not of this version"),
    ],
)
def test_what_is_no_task(wrong: str, message: str, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    store.write("tasks/odd.json", {"stage": "pair", "colour": "red"})
    assert run_task(Invocation("pair", task=wrong.format(store=store.url))) == ExitCode.BAD_INPUT
    assert message in capsys.readouterr().err


def test_register_needs_a_server(
    project: Path, store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    task = task_of(project, store, "register", [], [])
    assert run_task(Invocation("register", task=url(store, task))) == ExitCode.BAD_INPUT
    assert "MLFLOW_TRACKING_URI is not set" in capsys.readouterr().err


def test_halved_batches(project: Path) -> None:
    params = (project / "params.yaml").read_text()
    assert overrides(params, "file:///s", 0) == ["run.shared_cache=file:///s"]
    assert overrides(params, "file:///s", 0, ["run.cache=/c"]) == ["run.cache=/c"]
    assert set(overrides(params, "file:///s", 1)) == {
        "run.shared_cache=file:///s", "generate.batch=1", "score.batch=8", "train.micro_batch=2",
        "run.workers=1",
    }  # fmt: skip


def test_several_gpus_train_through_torchrun(project: Path) -> None:
    params = (project / "params.yaml").read_text()
    line = command(Invocation("train", task="url", processes=8), params, "file:///s")
    assert line[2:] == ["-m", "components.train.torchrun", "--standalone", "--nproc-per-node=8", "-m",
                        "components.train", "--set", "run.shared_cache=file:///s"]  # fmt: skip


def test_the_digest_tells_inputs_apart_but_not_places(project: Path, store: Store) -> None:
    task = generating(project, store)
    assert task.digest == task.model_copy(update={"store": "s3://elsewhere"}).digest
    assert task.digest != task.model_copy(update={"params": task.params + "\n"}).digest
    other = json.loads(task.model_dump_json())
    other["inputs"][0]["md5"] = "0" * 32
    assert task.digest != Task.model_validate(other).digest
