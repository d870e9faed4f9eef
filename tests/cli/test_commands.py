import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from skimage import data
from typer.testing import CliRunner

from components.artifacts.shards import decode_png, encode_png
from components.cli import upscale as upscaling
from components.cli.app import app
from components.stages import STAGES
from components.upscale.upscaler import Upscaler
from tests.evaluations import LR_ONLY, evaluation
from tests.made import REPOSITORY
from tests.register.project import make_project

DP2O = Path(sys.executable).with_name("dp2o")
WIDE = {"COLUMNS": "160", "TERMINAL_WIDTH": "160", "NO_COLOR": "1"}
PHOTO = data.astronaut()[:12, 100:115].copy()


def invoke(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, list(arguments), env=WIDE)
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("project")
    make_project(root)
    (root / "photo.png").write_bytes(encode_png(PHOTO))
    return root


def upscale(project: Path, *arguments: str) -> tuple[int, str, str]:
    fixed = ["--params", str(project / "params.yaml"), "--model", str(project / "models/aligned/best")]
    return invoke("upscale", str(project / "photo.png"), *fixed, *arguments)


def test_help_groups_commands_and_documents_exit_codes() -> None:
    code, text, _ = invoke("--help")
    assert code == 0
    groups = {name: text.index(f"─ {name} ─") for name in ("Pipeline", "Models", "Look")}
    assert groups["Pipeline"] < text.index("│ prepare") < groups["Models"]
    assert groups["Models"] < text.index("│ upscale") < groups["Look"] < text.index("│ status")
    meanings = {0: "done", 1: "a defect of ours", 2: "must change first", 75: "run the same command"}
    for number, meaning in meanings.items():
        assert any(line.split()[:1] == [str(number)] and meaning in line for line in text.splitlines())
    assert "--install-completion" in text


@pytest.mark.parametrize(
    "command", [*STAGES, "run", "upscale", "models list", "models show", "lineage", "status", "results"]
)
def test_every_command_has_examples(command: str) -> None:
    code, text, _ = invoke(*command.split(), "--help")
    assert code == 0
    assert f"dp2o {command}" in text.split("Examples:")[1]


def test_help_imports_nothing_heavy() -> None:
    script = """
import sys
from typer.testing import CliRunner
from components.cli.app import app
assert CliRunner().invoke(app, ["--help"]).exit_code == 0
print(sorted({"torch", "mlflow", "diffusers", "dvc", "pyarrow", "pandas", "scipy"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=300)
    assert done.stdout.strip() == "[]"


def test_console_script_is_installed() -> None:
    done = subprocess.run(
        [DP2O, "prepare", "--params", "absent.yaml"], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 2
    assert "dp2o prepare: absent.yaml does not exist" in done.stderr


def test_a_shard_that_cannot_be_is_refused() -> None:
    code, _, text = invoke("generate", "--shard", "4/4")
    assert code == 2
    assert "dp2o generate: --shard 4/4: expected i/n" in text


def test_unknown_option_is_a_usage_error() -> None:
    assert invoke("train", "--gpus", "2")[0] == 2


def test_upscale_writes_what_the_upscaler_makes(project: Path) -> None:
    from components.settings import load_settings  # noqa: PLC0415

    output = project / "large.png"
    code, text, errors = upscale(project, "-o", str(output), "--seed", "5", "--json")
    assert code == 0, errors
    settings = load_settings(project / "params.yaml")
    upscaler = Upscaler.load(project / "models/aligned/best", settings.backbone, torch.device("cpu"))
    assert np.array_equal(decode_png(output.read_bytes()), upscaler(PHOTO, 5))
    done = json.loads(text)
    assert (done["width"], done["height"], done["seed"]) == (60, 48, 5)
    assert done["model_digest"] == upscaler.digest


def test_a_picture_is_named_by_the_models_factor_not_by_the_projects(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A registered model may have another scale than the project's settings."""
    twice = SimpleNamespace(scale=2)

    class Twice:
        backbone, digest = twice, "0" * 64

        def __call__(self, picture: np.ndarray, seed: int, **_: object) -> np.ndarray:
            return picture.repeat(2, axis=0).repeat(2, axis=1)

    monkeypatch.setattr(upscaling, "load_model", lambda *_: Twice())
    code, text, errors = upscale(project, "--json")
    assert code == 0, errors
    assert json.loads(text)["output"] == str(project / "photo-x2.png")
    assert upscale(project)[0] == 2  # it exists


def test_upscale_overwrites_only_when_forced(project: Path) -> None:
    output = project / "kept.png"
    output.write_bytes(b"precious")
    code, _, text = upscale(project, "-o", str(output))
    assert code == 2
    assert "--force" in text
    assert output.read_bytes() == b"precious"
    assert upscale(project, "-o", str(output), "--force")[0] == 0
    assert decode_png(output.read_bytes()).shape == (48, 60, 3)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--max-pixels", "100"], "raise --max-pixels"),
        (["--tile", "100"], "tile 100 with overlap 32"),
        (["--model", "nowhere"], "nowhere does not exist"),
        (["-o", "a.txt"], "unknown picture format"),
    ],
)
def test_upscale_refuses_what_cannot_work(project: Path, arguments: list[str], why: str) -> None:
    code, _, text = upscale(project, *arguments)
    assert code == 2
    assert why in text


def test_unreachable_server_exits_with_resume(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    code, _, text = invoke("register", "--params", str(project / "params.yaml"))
    assert code == 75
    assert "dp2o register: MLflow at http://127.0.0.1:9 cannot be used now" in text


def test_results_show_figures_and_the_report(project: Path) -> None:
    code, text, _ = invoke("results", "--params", str(project / "params.yaml"))
    assert code == 0
    assert "reward 0.5000 -> 0.6250" in text
    assert "24.0000 -> 24.5000" in text
    assert f"report: {project / 'reports/index.html'}" in text
    as_json = json.loads(invoke("results", "--params", str(project / "params.yaml"), "--json")[1])
    assert as_json["reward"]["difference"] == 0.125
    assert as_json["version"] is None


def test_a_project_is_found_from_a_folder_in_it(project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Settings, figures, registry and model, without --params; outside of any project the message is as before."""
    (project / "dvc.yaml").write_text("stages: {}\n")
    (project / "notes/deep").mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(project / "notes/deep")
    assert json.loads(invoke("results", "--json")[1])["reward"]["difference"] == 0.125
    code, text, errors = invoke("history")
    assert (code, text) == (0, "champion: none\n"), errors
    assert (project / "mlflow.db").is_file()
    assert "params.yaml does not exist" not in invoke("plan")[2]
    code, text, errors = invoke("upscale", "../../photo.png", "-o", "here.png", "--json")
    assert code == 0, errors
    assert (project / "notes/deep/here.png").is_file()
    monkeypatch.chdir(tmp_path)
    code, _, errors = invoke("history")
    assert code == 2
    assert "params.yaml does not exist" in errors


def test_metrics_of_the_embedded_preset_are_the_settings_and_need_nothing() -> None:
    code, text, _ = invoke("metrics")
    assert code == 0
    for line in text.splitlines()[1:4]:
        assert line.strip() in (REPOSITORY / "params.yaml").read_text()
    assert "all weights are in place" in text
    assert "#   text_error      FR, lower is better" in text, "the others are listed, too"


def test_metrics_of_the_paper_say_which_weights_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DP2O_WEIGHTS", str(tmp_path))
    found = json.loads(invoke("metrics", "--preset", "paper", "--json")[1])
    judges = {"nima", "topiq_iaa"}  # held out; the embedded ones beside them have their weights or need none
    assert set(found["missing"]) == {*found["score"]["fr"], *found["score"]["nr"], *judges}
    assert judges < set(found["score"]["held_out"])
    assert len(found["missing"]) == 11
    assert all(str(tmp_path) in text for text in found["missing"].values())
    code, _, text = invoke("metrics", "--preset", "nine")
    assert code == 2
    assert "the presets are embedded, paper" in text


def test_results_before_any_evaluation(tmp_path: Path) -> None:
    code, _, text = invoke("results", "--params", str(tmp_path / "params.yaml"))
    assert code == 2
    assert "`dp2o run` makes it" in text


def test_results_say_what_they_are_of(tmp_path: Path) -> None:
    shutil.copy(REPOSITORY / "params.yaml", tmp_path)
    place = ("--params", str(tmp_path / "params.yaml"))
    evaluation(without_hr=LR_ONLY).write(tmp_path)
    code, text, _ = invoke("results", *place)
    assert code == 0
    with_hr, without_hr = text.split("3 test images without HR, of 2 photos\n")
    assert with_hr.startswith("10 test images with HR, of 5 photos\n  stlpips-vgg ")
    assert without_hr.startswith("  lr_consistency   30.0000 -> 29.5000")
    assert json.loads(invoke("results", "--json", *place)[1])["without_hr"]["images"] == 3
    evaluation().write(tmp_path)
    assert "without HR" not in invoke("results", *place)[1]


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DVC pipeline of shell commands, one for each way to end."""
    root = tmp_path_factory.mktemp("pipeline")
    slow = """
import signal, sys, time
from pathlib import Path
signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
Path("started").touch()
time.sleep(60)
"""
    (root / "slow.py").write_text(slow)
    (root / "dvc.yaml").write_text("""
stages:
  works:
    cmd: python -c "import components; print(1)" > works.txt
    deps: [slow.py]
    outs: [works.txt]
  bad_input: {cmd: exit 2}
  killed: {cmd: kill -9 $$}
  slow: {cmd: python slow.py}
""")
    subprocess.run([sys.executable, "-m", "dvc", "init", "--no-scm", "-q"], cwd=root, check=True, timeout=300)
    return root


@pytest.mark.parametrize(("stage", "code"), [("works", 0), ("bad_input", 2), ("killed", 137), ("absent", 2)])
def test_run_ends_as_the_stage_ended(pipeline: Path, stage: str, code: int) -> None:
    # A process of its own: DVC keeps the streams it first saw, which a test runner has closed by the second call.
    done = subprocess.run([DP2O, "run", stage], cwd=pipeline, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == code, done.stderr


def test_status_names_what_is_out_of_date(pipeline: Path) -> None:
    params = ["--params", str(pipeline / "params.yaml")]
    (pipeline / "works.txt").unlink(missing_ok=True)
    code, text, _ = invoke("status", *params)
    assert code == 0
    assert "works: changed" in text
    assert "no evaluation yet" in text
    told = json.loads(invoke("status", *params, "--json")[1])
    assert "works" in told["out_of_date"]
    assert told["run"] is None


def test_status_beside_a_run_says_so_and_never_speaks_of_its_locks(
    pipeline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import zc.lockfile  # noqa: PLC0415

    params, folder = ["--params", str(pipeline / "params.yaml")], pipeline / ".dvc/tmp"
    held = zc.lockfile.LockFile(str(folder / "lock"))
    try:
        code, text, errors = invoke("status", *params)
    finally:
        held.close()
    assert code == 0, errors
    assert f"a run is at work (process {os.getpid()})" in text
    writes = {str(pipeline / "works.txt"): {"pid": os.getpid(), "cmd": "dp2o run"}}
    (folder / "rwlock").write_text(json.dumps({"read": {}, "write": writes}))
    monkeypatch.chdir(pipeline.parent)
    try:
        code, text, errors = invoke("status", *params)
        as_json = json.loads(invoke("status", *params, "--json")[1])
    finally:
        (folder / "rwlock").unlink()
    assert code == 0, errors
    assert f"a run is at work (process {os.getpid()}, stage works)" in text
    assert "lock" not in text + errors
    assert as_json["run"] == {"pid": os.getpid(), "stage": "works"}


def test_status_outside_of_a_project(tmp_path: Path) -> None:
    code, _, text = invoke("status", "--params", str(tmp_path / "params.yaml"))
    assert code == 2
    assert "dvc status failed" in text


def test_sigterm_reaches_the_stage_and_says_resume(pipeline: Path) -> None:
    environment = os.environ | {"PATH": os.defpath}  # no activated venv: run must find its own python
    running = subprocess.Popen([DP2O, "run", "slow"], cwd=pipeline, env=environment, stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 120
        while not (pipeline / "started").exists():
            assert time.monotonic() < deadline, "the stage did not start"
            assert running.poll() is None, "dp2o run ended before the stage started"
            time.sleep(0.05)
        running.send_signal(signal.SIGTERM)
        running.communicate(timeout=60)
    finally:
        running.kill()
        running.wait()
    assert running.returncode == 75
