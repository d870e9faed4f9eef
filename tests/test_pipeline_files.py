"""dvc.yaml follows params.yaml, so that a photo in any named folder is noticed."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from components.errors import BadInput
from components.pipeline.files import follow_settings, untracked_folders
from components.settings import load_settings
from components.stages.preflight import CHECKS, check_run
from tests.flows.made import make_project
from tests.made import REPOSITORY

pytestmark = pytest.mark.slow

PHOTOS = sorted((REPOSITORY / "data/photos").glob("*.jpg"))


def with_sources(root: Path, *folders: str) -> None:
    values = yaml.safe_load((root / "params.yaml").read_text())
    values["prepare"] |= {"sources": list(folders), "crops_per_photo": 1}
    (root / "params.yaml").write_text(yaml.safe_dump(values))


def prepare(root: Path) -> str:
    command = [Path(sys.executable).with_name("dp2o"), "run", "prepare"]
    done = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True, timeout=300)
    return done.stdout + done.stderr


def test_a_photo_in_any_named_folder_is_noticed(tmp_path: Path) -> None:
    root, outside = make_project(tmp_path / "project").root, tmp_path / "holiday"
    for folder, photos in ((outside, PHOTOS[10:12]), (root / "mine", PHOTOS[12:14])):
        folder.mkdir()
        for photo in photos:
            shutil.copy(photo, folder)
    with_sources(root, "data/photos", str(outside), "mine")
    before = (root / "dvc.yaml").read_text()
    first = prepare(root)
    assert f"prepare depends on {outside} now" in first
    assert "prepare depends on mine now" in first
    assert "goes unnoticed" not in first
    after = (root / "dvc.yaml").read_text()
    assert [line for line in before.splitlines() if "#" in line] == [line for line in after.splitlines() if "#" in line]
    assert yaml.safe_load(after)["stages"]["prepare"]["deps"][-2:] == [str(outside), "mine"]
    assert "Running stage" not in prepare(root)
    for number, folder in enumerate((outside, root / "mine")):
        shutil.copy(PHOTOS[20 + number], folder)
        assert "Running stage 'prepare'" in prepare(root)


def test_only_what_settings_name_and_nothing_covers_is_added(tmp_path: Path) -> None:
    root = make_project(tmp_path / "project").root
    with_sources(root, "data/photos", "data/photos/inner", "absent")
    (root / "data/photos/inner").mkdir()
    assert follow_settings(root) == []
    values = yaml.safe_load((root / "params.yaml").read_text())
    values["backbone"]["path"] = "models/mine"
    (root / "params.yaml").write_text(yaml.safe_dump(values))
    (root / "models/mine").mkdir(parents=True)
    expected = [(stage, "models/mine") for stage in ("generate", "train", "evaluate")]
    assert untracked_folders(load_settings(root / "params.yaml"), root) == expected
    assert follow_settings(root) == [
        f"{stage} depends on {folder} now, as params.yaml names it" for stage, folder in expected
    ]
    assert follow_settings(root) == []


def test_several_rounds_depend_on_the_code_that_they_run(tmp_path: Path) -> None:
    shutil.copy(REPOSITORY / "dvc.yaml", tmp_path)
    names = ("rounds", "generate", "score", "pair")
    for name in names:
        (tmp_path / "components" / name).mkdir(parents=True)
    values = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    for rounds, expected in ((1, []), (2, [("train", f"components/{name}") for name in names])):
        values["train"]["rounds"] = rounds
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
        found = untracked_folders(load_settings(tmp_path / "params.yaml"), tmp_path)
        assert [one for one in found if one[0] == "train" and one[1].startswith("components")] == expected


def test_a_restorer_and_a_captioner_of_ones_own_are_noticed(tmp_path: Path) -> None:
    shutil.copy(REPOSITORY / "dvc.yaml", tmp_path)
    values = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    values["backbone"]["restorer"] = "restorers/mine.param"
    values["prepare"]["prompt"] = {"kind": "captioner", "model": "words"}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    for folder in ("restorers", "words"):
        (tmp_path / folder).mkdir()
    for suffix in ("param", "bin"):
        (tmp_path / f"restorers/mine.{suffix}").touch()
    assert untracked_folders(load_settings(tmp_path / "params.yaml"), tmp_path) == [
        ("prepare", "words"),
        *((stage, "restorers/mine.param") for stage in ("generate", "train", "evaluate")),
        *((stage, "restorers/mine.bin") for stage in ("generate", "train", "evaluate")),
    ]


def test_a_model_of_the_hub_that_is_not_here_is_told_before_a_stage(tmp_path: Path) -> None:
    shutil.copy(REPOSITORY / "presets/c-flux.yaml", tmp_path / "params.yaml")
    settings = load_settings(tmp_path / "params.yaml")
    told = {stage: [text for check in CHECKS[stage] for text in check(settings, tmp_path)] for stage in CHECKS}
    absent = [
        "backbone.base: hf://black-forest-labs/FLUX.1-dev@main is not in this machine's cache",
        "prepare.prompt.model: hf://Salesforce/blip-image-captioning-base@main is not in this machine's cache",
    ]
    assert any(text.startswith(absent[1]) for text in told["prepare"])
    assert any(text.startswith(absent[0]) for text in told["generate"])
    path = tmp_path / "models/base/c-flux"
    assert f"backbone.path: {path} does not exist; set it to a model that is there" in told["train"]


def test_what_is_not_there_is_dvcs_to_say_and_what_is_damaged_ours(tmp_path: Path) -> None:
    assert follow_settings(tmp_path) == []
    root = make_project(tmp_path / "project").root
    (root / "dvc.yaml").write_text("stages: [")
    with pytest.raises(BadInput, match=r"dvc\.yaml describes no pipeline"):
        follow_settings(root)


def test_prepare_alone_says_what_goes_unnoticed(tmp_path: Path) -> None:
    root = make_project(tmp_path / "project").root
    (root / "mine").mkdir()
    for photo in PHOTOS[12:14]:
        shutil.copy(photo, root / "mine")
    with_sources(root, "data/photos", "mine")
    command = [sys.executable, "-m", "components.prepare"]
    done = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True, timeout=300)
    assert "mine is no dependency in dvc.yaml" in done.stderr


def test_a_folder_that_is_named_no_more_is_forgotten(tmp_path: Path) -> None:
    """The next run would look for it in vain; what others make, and what is there, stays."""
    root = make_project(tmp_path / "project").root
    shutil.move(root / "data/photos", root / "mine")
    with_sources(root, "mine")
    assert follow_settings(root) == [
        "prepare depends on mine now, as params.yaml names it",
        "prepare depends on data/photos no more, as params.yaml names it no more",
    ]
    depends = yaml.safe_load((root / "dvc.yaml").read_text())["stages"]["prepare"]["deps"]
    assert "mine" in depends
    assert "data/photos" not in depends
    assert follow_settings(root) == []
    (root / "dvc.lock").write_text(
        yaml.safe_dump({"stages": {"prepare": {"params": {"params.yaml": {"prepare": {"sources": ["mine"]}}}}}})
    )
    (root / "other").mkdir()
    with_sources(root, "other")
    assert [line for line in follow_settings(root) if "no more" in line] == [
        "prepare depends on mine no more, as params.yaml names it no more"
    ]


def test_a_run_that_cannot_work_is_refused_before_a_stage(tmp_path: Path) -> None:
    root = make_project(tmp_path / "project").root
    values = yaml.safe_load((root / "params.yaml").read_text())
    values["prepare"]["sources"] = ["nowhere"]
    values["backbone"]["path"] = "models/none"
    (root / "params.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(BadInput, match="before any stage began:") as caught:
        check_run(root, [])
    assert "nowhere is not a folder" in str(caught.value)
    assert "models/none does not exist" in str(caught.value)
    with pytest.raises(BadInput) as of_prepare:
        check_run(root, ["prepare"])
    assert "models/none" not in str(of_prepare.value)


def test_both_folders_of_pairs_are_noticed_and_forgotten(tmp_path: Path) -> None:
    shutil.copy(REPOSITORY / "dvc.yaml", tmp_path)
    values = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    values["prepare"] |= {"sources": [], "pairs": [{"lr": "set/LR", "hr": "set/HR"}, {"lr": "both", "hr": "both"}]}
    for folder in ("set/LR", "set/HR", "both", "data/photos", values["backbone"]["path"]):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    settings = load_settings(tmp_path / "params.yaml")
    assert [path for stage, path in untracked_folders(settings, tmp_path)] == ["set/LR", "set/HR", "both"]
    told = [text for check in CHECKS["prepare"] for text in check(settings, tmp_path)]
    assert [text.split(": ")[0] for text in told] == [
        f"prepare.pairs[{n}].{side}" for n in (0, 1) for side in ("lr", "hr")
    ]
    assert follow_settings(tmp_path)[:3] == [
        f"prepare depends on {folder} now, as params.yaml names it" for folder in ("set/LR", "set/HR", "both")
    ]
    (tmp_path / "dvc.lock").write_text(
        yaml.safe_dump({"stages": {"prepare": {"params": {"params.yaml": {"prepare": values["prepare"]}}}}})
    )
    values["prepare"]["pairs"] = [{"lr": "both", "hr": "both"}]
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    assert follow_settings(tmp_path) == [
        f"prepare depends on {folder} no more, as params.yaml names it no more" for folder in ("set/LR", "set/HR")
    ]
