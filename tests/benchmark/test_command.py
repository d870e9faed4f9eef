"""`dp2o benchmark` on tiny sets of the field's layouts: read, cropped, held to their digests, measured, and written."""

import csv
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from components.artifacts import paths
from components.benchmark.command import Asked, metrics_of, run_benchmark
from components.benchmark.dataset import prepared
from components.benchmark.models import Named
from components.benchmark.sets import named
from components.errors import BadInput
from components.photos.degradation import crop_generator, degrade
from components.serving.package import Package
from components.settings import Settings
from components.storage import digests
from tests.cli.test_commands import invoke
from tests.made import tiny_model, write_params
from tests.prepare.test_aligned import landscape

Picture = NDArray[np.uint8]


def write(path: Path, pixels: Picture) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def low(high: Picture) -> Picture:
    rows, columns = high.shape[0] // 4, high.shape[1] // 4
    return high.reshape(rows, 4, columns, 4, 3).mean((1, 3)).round().astype(np.uint8)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Settings, two models, and sets in four layouts."""
    root = tmp_path_factory.mktemp("project")
    write_params(
        root,
        run={"device": "cpu", "threads": 1, "workers": 1},
        backbone={"path": "base", "steps": 1},
        score={"fr": ["psnr"], "nr": ["piqe"], "held_out": ["ssim"]},
        evaluate={"bootstrap": 100},
    )
    for folder, seed in (("base", 0), ("other", 1)):
        (root / folder).mkdir()
        tiny_model(seed).save(root / folder)
    for seed in range(3):
        high = landscape(96, 128, seed)
        write(root / f"sets/RealSRVal_crop128/test_HR/Canon_{seed}_HR.png", high)
        write(root / f"sets/RealSRVal_crop128/test_LR/Canon_{seed}_LR4.png", low(high))
        write(root / f"sets/DIV2K_valid_HR/080{seed}.png", high)
        write(root / f"sets/RealLQ250/lq/{seed}.png", low(high))
        write(root / f"sets/DRealSR/Test_x4/test_HR/sony_{seed}_x4.png", landscape(528, 560, seed))
        write(root / f"sets/DRealSR/Test_x4/test_LR/sony_{seed}_x1.png", low(landscape(528, 560, seed)))
    return root


@pytest.fixture(scope="module")
def settings(project: Path) -> Settings:
    from components.settings import load_settings  # noqa: PLC0415

    return load_settings(project / "params.yaml")


def no_prompt(picture: Picture) -> str:
    return ""


def test_crops_are_the_middle_of_both_sides(project: Path, settings: Settings) -> None:
    """LR of 132 x 140 px: the middle 128 x 128, and the HR's 512 x 512 at the same place."""
    found = prepared(settings, project, named("drealsr"), project / "sets", "crop", no_prompt)
    names = {found.names[image.lr_id]: image for image in found.images}
    assert sorted(names) == ["sony_0", "sony_1", "sony_2"]
    high = landscape(528, 560, 1)
    np.testing.assert_array_equal(names["sony_1"].lr, low(high)[2:130, 6:134])
    assert names["sony_1"].hr is not None
    np.testing.assert_array_equal(names["sony_1"].hr, high[8:520, 24:536])
    whole = prepared(settings, project, named("drealsr"), project / "sets", "full", no_prompt)
    assert {image.lr.shape for image in whole.images} == {(132, 140, 3)}
    assert (found.protocol, whole.protocol) == ("the middle 128 px of each LR, 512 px of the HR, x4", "full size, x4")


def test_hr_alone_is_degraded_as_training_images_are(project: Path, settings: Settings) -> None:
    found = prepared(settings, project, named("div2k-ours"), project / "sets", "crop", no_prompt)
    high = landscape(96, 128, 0)
    generator = crop_generator(settings.prepare.seed, digests.of_pixels(high), 0, 0)
    expected, _ = degrade(high, generator, settings.prepare.degradation, 4)
    np.testing.assert_array_equal(next(i.lr for i in found.images if found.names[i.lr_id] == "0800"), expected)


def test_a_set_is_held_to_its_digest_list(project: Path, settings: Settings, tmp_path: Path) -> None:
    for seed in range(2):
        write(tmp_path / f"sets/RealLR200/{seed}.png", low(landscape(96, 128, seed)))
    asked = (settings, tmp_path, named("reallr200"), tmp_path / "sets", "crop", no_prompt)
    first = prepared(*asked)
    assert (tmp_path / paths.TEST_SETS / "reallr200.json").is_file()
    assert prepared(*asked).digest == first.digest
    write(tmp_path / "sets/RealLR200/1.png", low(landscape(96, 128, 9)))
    with pytest.raises(BadInput, match=r"RealLR200 is not what it was .*1 images differ, first 1 .*remove the list"):
        prepared(*asked)
    (tmp_path / paths.TEST_SETS / "reallr200.json").unlink()
    assert prepared(*asked).digest != first.digest


def test_a_set_with_a_loose_or_broken_file_is_refused(settings: Settings, tmp_path: Path) -> None:
    high = landscape(96, 128, 0)
    write(tmp_path / "ScreenSR/LR/a.png", low(high))
    write(tmp_path / "ScreenSR/LR/b.png", low(high))
    write(tmp_path / "ScreenSR/HR/a.png", high)
    asked = (settings, tmp_path, named("screensr"), tmp_path, "crop", no_prompt)
    with pytest.raises(BadInput, match=r"ScreenSR: 1 files are in no pair .*first b.png \(no HR image is named b\)"):
        prepared(*asked)
    (tmp_path / "ScreenSR/HR/b.png").write_bytes(b"no picture")
    with pytest.raises(BadInput, match=r"b.png cannot be used \(unreadable.*restore the set"):
        prepared(*asked)
    write(tmp_path / "ScreenSR/HR/b.png", landscape(48, 64, 1))
    (tmp_path / paths.TEST_SETS / "screensr.json").unlink()
    with pytest.raises(BadInput, match=r"b: LR and HR are 32 x 24 px beside 64 x 48 px, and prepare.scale is 4"):
        prepared(*asked)


def asked_of(project: Path, **changes: object) -> Asked:
    values = {
        "models": (Named("base", "base"), Named("new", str(project / "other"))),
        "peers": ("bicubic",),
        "results": (),
        "against": (),
        "metrics": ("psnr_y", "piqe"),
        "seeds": 2,
        "protocol": "crop",
    }
    return Asked(**(values | changes))  # type: ignore[arg-type]


def test_models_peers_and_results_of_others_in_one_table(project: Path, settings: Settings) -> None:
    for seed in range(3):
        high = np.asarray(Image.open(project / f"sets/RealSRVal_crop128/test_HR/Canon_{seed}_HR.png"))
        for sample, offset in ((0, 2), (1, 4)):
            path = project / f"theirs/seed{sample}/Canon_{seed}.png"
            write(path, (high.clip(10, 240) + offset).astype(np.uint8))
    asked = asked_of(project, results=(Named("SeeSR", str(project / "theirs")),), against=(Named("SeeSR", "SeeSR"),))
    done = run_benchmark(settings, project, named("realsr"), project / "sets", asked)
    figures = {one.name: one for one in done.figures}
    assert [(one.name, one.images, one.samples) for one in done.figures] == [
        ("base", 3, 2), ("new", 3, 2), ("bicubic", 3, 1), ("SeeSR", 3, 2),
    ]  # fmt: skip
    assert figures["SeeSR"].metrics["psnr_y"].best > figures["SeeSR"].metrics["psnr_y"].worst + 3
    assert figures["base"].metrics["psnr_y"].mean != figures["new"].metrics["psnr_y"].mean
    rows = list(csv.DictReader((done.folder / "table.csv").open()))
    (theirs,) = (row for row in rows if (row["model"], row["metric"]) == ("SeeSR", "psnr_y"))
    assert (theirs["published_column"], theirs["published"]) == ("SeeSR", "25.15")
    text = (done.folder / "table.md").read_text()
    assert "Y of YCbCr" in text
    assert "tiny_flow, 1 steps" in text
    assert (done.folder / "table.tex").read_text().count(r"\\") == 3
    before = {path: path.read_bytes() for path in done.folder.iterdir()}
    run_benchmark(settings, project, named("realsr"), project / "sets", asked)
    assert {path: path.read_bytes() for path in done.folder.iterdir()} == before


def test_without_hr_the_lr_takes_its_place(project: Path, settings: Settings) -> None:
    asked = asked_of(project, models=(), seeds=1)
    (bicubic,) = run_benchmark(settings, project, named("reallq250"), project / "sets", asked).figures
    assert list(bicubic.metrics) == ["piqe", "lr_consistency"]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"Canon_0.png": (96, 128), "Canon_1.png": (96, 128)}, "lacks 1 of 3 images, first Canon_2: name each file"),
        ({f"Canon_{n}.png": (48, 64) for n in range(3)}, "is 64 x 48 px, and the protocol asks for 128 x 96 px"),
        (
            {f"Canon_{n}.png": (96, 128) for n in range(3)} | {"more/Canon_1.png": (96, 128)},
            "has 1 to 2 files an image: give as many",
        ),
    ],
)
def test_results_that_do_not_fit_are_named(
    project: Path, settings: Settings, tmp_path: Path, files: dict[str, tuple[int, int]], said: str
) -> None:
    for name, size in files.items():
        write(tmp_path / name, landscape(*size))
    asked = asked_of(project, models=(), peers=(), results=(Named("they", str(tmp_path)),))
    with pytest.raises(BadInput, match=said):
        run_benchmark(settings, project, named("realsr"), project / "sets", asked)


def test_what_is_asked_for_must_be_there(project: Path, settings: Settings) -> None:
    def run(**changes: object) -> None:
        run_benchmark(settings, project, named("realsr"), project / "sets", asked_of(project, **changes))

    with pytest.raises(BadInput, match=r"--model aligned: .*models/aligned/best does not exist; run train first"):
        run(models=(Named("aligned", "aligned"),))
    with pytest.raises(BadInput, match="name base, aligned, models:/NAME@ALIAS or a folder"):
        run(models=(Named("x", "nowhere"),))
    with pytest.raises(BadInput, match="base is named more than once: give --model NAME=WHAT"):
        run(models=(Named("base", "base"), Named("base", "base")))
    with pytest.raises(BadInput, match="--against names SUPIR, which is not compared: name"):
        run(against=(Named("SUPIR", "SeeSR"),))
    with pytest.raises(BadInput, match="there is no metric psnr_z; give embedded, paper or names"):
        metrics_of(settings, "psnr,psnr_z")


def test_a_registered_model_is_sampled_as_it_was_registered(
    project: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its package is checked elsewhere; here it is one of two steps, beside settings of one."""
    config = settings.backbone.model_dump(mode="json", exclude={"path"}) | {"steps": 2}
    package = Package(project / "other", {"backbone": config, "digest": ""})
    monkeypatch.setattr("components.benchmark.models.checked_package", lambda *asked: (asked[2], package))
    asked = asked_of(
        project, models=(Named("new", str(project / "other")), Named("old", "models:/sr@champion")), peers=()
    )
    done = run_benchmark(settings, project, named("realsr"), project / "sets", asked)
    new, old = (one.metrics["psnr_y"].mean for one in done.figures)
    assert new != old
    assert "tiny_flow, 2 steps" in (done.folder / "table.md").read_text()
    package = Package(project / "other", {"backbone": config, "digest": "0" * 64})
    with pytest.raises(BadInput, match="models:/sr@champion: the weights are not those that were registered"):
        run_benchmark(settings, project, named("realsr"), project / "sets", asked)


def test_the_command(project: Path) -> None:
    fixed = ("--params", str(project / "params.yaml"), "--metrics", "psnr_y")
    code, listed, _ = invoke("benchmark", "--list")
    assert code == 0
    assert "RealSRVal_crop128/test_LR and RealSRVal_crop128/test_HR" in listed
    code, _, said = invoke("benchmark", *fixed)
    assert (code, "name one of the sets (realsr, drealsr" in said) == (2, True)
    code, _, said = invoke("benchmark", "realphoto60", "--data", str(project / "sets"), *fixed)
    assert (code, "get it at github.com/Fanghua-Yu/SUPIR" in said) == (2, True)
    code, out, said = invoke("benchmark", "realsr", "--data", str(project / "sets"), "--peer", "bicubic", *fixed)
    assert code == 0, said
    assert "| metric | base | bicubic |" in out
