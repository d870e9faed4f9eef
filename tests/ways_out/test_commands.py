"""Commands that are asked for what cannot be: who types what the message says gets on."""

import sys
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from components.cli.app import app
from components.errors import BadInput, ExitCode

pytestmark = pytest.mark.slow
LONG = "n" * 300

ROWS: list[tuple[list[str], str, list[str]]] = [
    (["upscale", "@/lr.png", "-o", "@/made.png"], "exists; give --force", ["--force"]),
    (["upscale", "@/lr.png", "-o", "@/made.png"], "or another --output", ["-o", "@/other.png"]),
    (
        ["upscale", "@/lr.png", "-o", "@/x.bmpx"],
        r"unknown picture format '\.bmpx'; use one of .*\.png",
        ["-o", "@/x.png"],
    ),
    (
        ["upscale", "@/lr.png", "-o", f"@/{LONG}.png"],
        "cannot be written: File name too long; choose",
        ["-o", "@/x.png"],
    ),
    (["upscale", "@/wide.png", "-o", "@/x.webp"], r"at most 16383 px a side: name a \.png", ["-o", "@/x.png"]),
    (
        ["upscale", "@/lr.png", "-o", "@/x.png", "--max-pixels", "100"],
        "crop or shrink it, or raise --max-pixels",
        ["--max-pixels", "100000"],
    ),
    (["upscale", "@/lr.png", "-o", "@/x.png", "--tile", "7"], "must be multiples of", ["--tile", "64"]),
    (["upscale", "@/lr.png", "-o", "@/x.png", "--scale", "0"], "give a number above 0", ["--scale", "2"]),
    (["upscale", "@/lr.png", "-o", "@/x.png", "--scale", "9"], "model's factor 4: ask for less", ["--scale", "3"]),
    (
        ["upscale", "@/lr.png", "-o", "@/x.png", "--scale", "2", "--width", "20"],
        "--scale and --width contradict each other: give one of them",
        ["--width"],
    ),
    (
        ["upscale", "@/lr.png", "-o", "@/x.png", "--model", "@/none"],
        "does not exist; `dp2o run train` writes models/aligned/best",
        ["--model", "@/models/aligned/best"],
    ),
    (["plan", "--gpu", "nothing"], "there is none of that name; known are .*cpu", ["--gpu", "cpu"]),
    (["plan", "--gpu", "cpu", "--mfu", "3"], "give more than 0 and at most 1, such as 0.3", ["--mfu", "0.3"]),
    (["plan", "--gpu", "cpu", "--gpus", "2"], "leave --gpus out", ["--gpus"]),
    (
        ["metrics", "--preset", "nothing"],
        "there is none of that name; the presets are .*embedded",
        ["--preset", "embedded"],
    ),
    (["generate", "--shard", "4/4"], "expected i/n with 0 <= i < n, for example 0/4", ["--shard", "0/4"]),
    (["generate", "--set", "train.beta=1"], "only settings that never change a result", ["--set", "run.threads=1"]),
]
"""A command, what it says, and the options that the message asks for; of an option given twice the last counts."""


@pytest.fixture(scope="module")
def project(finished: Path) -> Path:
    Image.new("RGB", (16, 12), (90, 120, 60)).save(finished / "lr.png")
    Image.new("RGB", (4100, 1), (90, 120, 60)).save(finished / "wide.png")
    return finished


def dp2o(project: Path, arguments: list[str]) -> tuple[int, str]:
    placed = [argument.replace("@", str(project)) for argument in arguments]
    settings = [] if arguments[0] == "metrics" else ["--params", str(project / "params.yaml")]
    result = CliRunner().invoke(app, [*placed, *settings], env={"COLUMNS": "500"})
    sys.stderr.write(result.stderr)
    return result.exit_code, " ".join(result.stderr.split())


@pytest.mark.parametrize(("asked", "message", "way"), ROWS, ids=[f"{row[0][0]}: {row[1][:30]}" for row in ROWS])
def test_who_types_what_a_command_says_gets_on(project: Path, asked: list[str], message: str, way: list[str]) -> None:
    (project / "made.png").write_bytes((project / "lr.png").read_bytes())
    for name in ("x.png", "other.png", "photos/x.png"):
        (project / name).unlink(missing_ok=True)
    code, said = dp2o(project, asked)
    assert code == ExitCode.BAD_INPUT, said
    with pytest.raises(BadInput, match=message):
        raise BadInput(said)
    code, said = dp2o(project, _replaced(asked, way))
    assert code == ExitCode.OK, said


def _replaced(asked: list[str], way: list[str]) -> list[str]:
    """`asked` with the option of `way` in place of its own; without it where `way` has no value."""
    if way[0] in asked:
        at = asked.index(way[0])
        return [*asked[:at], *(way if len(way) > 1 else []), *asked[at + 2 :]]
    return [*asked, *way]
