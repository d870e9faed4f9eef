"""Studies made of a project: models, seeds, folders, candidates; and votes that become pairs and a trained model."""

import json
from pathlib import Path

import pytest

from components.artifacts import paths, tables
from components.errors import BadInput
from components.pair.stage import run as pair
from components.settings import Settings
from components.study import manifest as frozen
from components.study import raters
from components.study.votes import VoteLog
from components.train.stage import run as train
from tests.cli.test_commands import invoke
from tests.made import SCALE, tiny_model, write_candidates, write_dataset, write_params
from tests.pair.test_stage import drawn, write_scores
from tests.study.made import votes_of

CANDIDATES = 4


def project(root: Path, **blocks: dict[str, object]) -> Settings:
    settings = write_params(
        root,
        run={"device": "cpu", "threads": 1, "workers": 1},
        backbone={"path": "base", "steps": 1},
        score={"fr": ["psnr"], "nr": ["piqe"], "held_out": ["ssim"]},
        generate={"candidates": CANDIDATES},
        **{"pair": {"top": 2}, **blocks},
    )
    for folder, seed in (("base", 0), ("models/aligned/best", 1)):
        (root / folder).mkdir(parents=True)
        tiny_model(seed).save(root / folder)
    return settings


def study(root: Path, name: str, *options: str) -> frozen.Manifest:
    code, *told = invoke("study", "new", name, *options, "--params", str(root / "params.yaml"))
    assert code == 0, told
    return frozen.read(root / "studies" / name)


def test_models_seeds_and_folders_are_compared(tmp_path: Path) -> None:
    project(tmp_path)
    lr_ids = write_dataset(tmp_path, ["test"] * 4)
    made = study(tmp_path, "one", "--peer", "bicubic", "--model", "base", "--model", "aligned", "--metrics", "psnr")
    assert [model.name for model in made.models] == ["base", "aligned", "bicubic"]
    assert (len(made.pairs), len(made.checks)) == (12, 3)
    assert {one.lr_id for one in made.pairs} == set(lr_ids)
    assert all(one.first.scores.keys() == {"psnr"} for one in made.pairs)
    assert [one.first.model for one in made.checks] == ["HR"] * 3
    files = sorted(path.name for path in (tmp_path / "studies/one/pictures").iterdir())
    assert files == sorted(f"{stem}.png" for stem in made.pictures)
    seeds = study(tmp_path, "two", "--model", "aligned", "--seeds", "2", "--pairs", "3", "--metrics", "none")
    assert [model.name for model in seeds.models] == ["aligned, seed 0", "aligned, seed 1"]
    assert [(one.first.index, one.second.index) for one in seeds.pairs] == [(0, 1)] * 3
    code, *told = invoke("study", "new", "one", "--model", "base", "--params", str(tmp_path / "params.yaml"))
    assert code == 2
    assert "a study is never changed" in "".join(told)


def voted(root: Path, *options: str) -> frozen.Manifest:
    """A study of candidates in which three raters prefer the lower index, and one of them once does not."""
    made = study(root, "votes1", "--candidates", "--pairs", "0", "--per-group", "3", *options)
    folder = root / "studies/votes1"
    first = {one.id: float(one.first.index < one.second.index) for one in made.pairs}
    with VoteLog(folder) as log:
        for number, (rater, _) in enumerate(raters.invite(folder, count=3)):
            own = dict(first)
            if number == 2:
                own[made.pairs[0].id] = 1.0 - own[made.pairs[0].id]
            log.append(votes_of(made, rater.name, rater.number, own))
    return made


def test_votes_become_pairs_and_a_trained_model(tmp_path: Path) -> None:
    settings = project(
        tmp_path,
        pair={"builder": "votes"},
        train={
            "steps": 2,
            "validate_every": 2,
            "validation_images": 1,
            "groups_per_step": 1,
            "micro_batch": 1,
            "objective": "soft",
            "checkpoint_every": 2,
            "warmup_steps": 0,
        },
    )
    lr_ids = write_dataset(tmp_path, ["align", "align", "align", "validation"])
    write_candidates(tmp_path, lr_ids[:3], CANDIDATES)
    scored = {lr_id: drawn(seed, ["psnr", "piqe"], CANDIDATES) for seed, lr_id in enumerate(lr_ids[:3])}
    write_scores(tmp_path, scored, ["psnr", "piqe"])
    with pytest.raises(BadInput, match="dp2o study votes NAME"):
        pair(settings, tmp_path)
    made = voted(tmp_path)
    code, *told = invoke("study", "votes", "votes1", "--json", "--params", str(tmp_path / "params.yaml"))
    assert code == 0
    assert json.loads(told[0])["votes"] == 27
    pair(settings, tmp_path)
    rows = tables.read_rows(tmp_path / paths.PAIRS, tables.PAIRS)
    assert len(rows) == 9
    assert all(row["winner"] < row["loser"] for row in rows)
    disputed = made.pairs[0]
    both = {disputed.first.index, disputed.second.index}
    for row in rows:
        split = row["lr_id"] == disputed.lr_id and {row["winner"], row["loser"]} == both
        assert row["label_noise"] == pytest.approx(1.5 / 4.0 if split else 0.5 / 4.0)
    train(settings, tmp_path)
    assert (tmp_path / paths.BEST).is_dir()
    write_candidates(tmp_path, lr_ids[:2], CANDIDATES, side=8 * SCALE + SCALE)
    with pytest.raises(BadInput, match="the votes are of other candidates"):
        pair(settings, tmp_path)
