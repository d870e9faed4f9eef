from pathlib import Path

import pytest
import torch

from components.artifacts import latents, tables
from components.artifacts.images import to_tensor
from components.artifacts.shards import ShardFolder, write_shard
from components.errors import BadInput
from components.train.groups import groups_of
from tests.train.rig import images_of, write_project

CPU = torch.device("cpu")


def row(lr_id: str, winner: int, loser: int, weight: float = 1.0) -> tables.Row:
    unused = {"margin": None, "label_noise": None, "target": None}
    return {"lr_id": lr_id, "winner": winner, "loser": loser, "weight": weight, "gap": 0.5} | unused


def test_only_the_candidates_in_use_are_loaded() -> None:
    rows = [row("b", 9, 2, 0.5), row("b", 9, 4, 1.5), row("a", 0, 1), row("b", 7, 2)]
    groups = groups_of(rows)
    assert list(groups) == ["a", "b"]
    group = groups["b"]
    assert group.candidates == (2, 4, 7, 9)
    assert (group.winner, group.loser, group.weight) == ((3, 3, 2), (0, 1, 0), (0.5, 1.5, 1.0))
    pairs = group.by_position(CPU)
    assert (pairs.winner.tolist(), pairs.loser.tolist(), pairs.weight.tolist()) == ([3, 3, 2], [0, 1, 0], [0.5, 1.5, 1])


def test_pairs_with_noise_of_their_own() -> None:
    group = groups_of([row("b", 9, 2, 0.5), row("b", 9, 4, 1.5)])["b"]
    positions, pairs = group.by_pair(CPU)
    assert [group.candidates[position] for position in positions] == [9, 9, 2, 4]
    assert (pairs.winner.tolist(), pairs.loser.tolist()) == ([0, 1], [2, 3])


def test_what_the_builder_knew_comes_along() -> None:
    rows = [row("b", 9, 2) | {"gap": 0.25, "target": 0.125}, row("b", 9, 4) | {"gap": 0.75, "target": 0.5}]
    for pairs in (groups_of(rows)["b"].by_position(CPU), groups_of(rows)["b"].by_pair(CPU)[1]):
        assert (pairs.gap.tolist(), pairs.known("target").tolist()) == ([0.25, 0.75], [0.125, 0.5])
        assert (pairs.margin, pairs.label_noise) == (None, None)
        with pytest.raises(LookupError, match="reads the pairs' margin, which its settings' `needs` does not name"):
            pairs.known("margin")


def test_winners_alone() -> None:
    group = groups_of([row("b", 9, -1), row("b", 3, -1)])["b"]
    assert group.candidates == (3, 9)
    assert group.by_position(CPU).loser.tolist() == [-1, -1]
    positions, pairs = group.by_pair(CPU)
    assert positions == [1, 0]
    assert (pairs.winner.tolist(), pairs.loser.tolist()) == ([0, 1], [-1, -1])


def test_images(tmp_path: Path) -> None:
    write_project(tmp_path)
    images = images_of(tmp_path)
    lr_id = tables.read_rows(tmp_path / "data/candidates.parquet", tables.CANDIDATES)[0]["lr_id"]
    assert images.lr(lr_id).shape == (1, 3, 8, 8)
    assert images.prompt(lr_id) == ""
    shard = ShardFolder(tmp_path / "data/candidates")["00000-of-00001.tar"]
    expected = to_tensor(shard.image(f"{lr_id}.004.png"), shard.image(f"{lr_id}.001.png"))
    assert torch.equal(images.candidates(lr_id, [4, 1]), expected)
    with pytest.raises(BadInput, match=rf"candidate 77 of {lr_id}, which data/candidates.parquet lacks"):
        images.candidates(lr_id, [0, 77])
    with pytest.raises(BadInput, match=r"LR feedfeed, which data/dataset\.parquet lacks"):
        images.lr("feedfeed")


def test_latents_are_all_stored_or_none(tmp_path: Path) -> None:
    write_project(tmp_path)
    lr_id = tables.read_rows(tmp_path / "data/candidates.parquet", tables.CANDIDATES)[0]["lr_id"]
    assert images_of(tmp_path).latents(lr_id, [4, 1]) is None
    path = tmp_path / "data/candidates/00000-of-00001.tar"
    reader = ShardFolder(path.parent)[path.name]
    members = [(name, reader.read(name)) for name in reader]
    stored = [
        (latents.member(lr_id, index), latents.encode(torch.full((2, 3), float(index)).half())) for index in (1, 4)
    ]
    write_shard(path, [*members, *stored])
    found = images_of(tmp_path).latents(lr_id, [4, 1])
    assert found is not None
    assert found.dtype == torch.float32
    assert found[:, 0, 0].tolist() == [4, 1]
    with pytest.raises(BadInput, match=f"has latents of 1 of 2 candidates of {lr_id}"):
        images_of(tmp_path).latents(lr_id, [0, 1])
