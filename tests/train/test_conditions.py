"""Encoded once, within the limit; and stored latents are what is trained on."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from components.artifacts import latents, tables
from components.artifacts.shards import ShardFolder, write_shard
from components.backbones.base import Condition
from components.errors import BadInput
from components.train.conditions import Conditions
from components.train.groups import GroupImages
from tests.made import LatentFlow, tiny_model
from tests.train.rig import GROUPS, images_of, trainer, write_project

CPU = torch.device("cpu")
ONE = 4 * 3 * 32 * 32
"""Bytes of one condition: the upsampled LR."""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write_project(tmp_path)
    return tmp_path


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each LR image was read to be encoded."""
    counts: Counter[str] = Counter()
    read: Callable[..., torch.Tensor] = GroupImages.lr

    def counting(self: GroupImages, lr_id: str) -> torch.Tensor:
        counts[lr_id] += 1
        return read(self, lr_id)

    monkeypatch.setattr(GroupImages, "lr", counting)
    return counts


def ids(project: Path) -> list[str]:
    return [row["lr_id"] for row in tables.read_rows(project / "data/dataset.parquet", tables.DATASET)]


def test_rows_are_those_of_each_lr_alone(project: Path) -> None:
    model, images = tiny_model(), images_of(project)
    wanted = ids(project)[:3]
    found = Conditions(model, images, 10 * ONE).of(wanted, CPU)
    for row, lr_id in enumerate(wanted):
        assert torch.equal(found.upsampled[row : row + 1], model.condition(images.lr(lr_id), ("",)).upsampled)
    assert found.prompts == ("", "", "")


def test_the_least_recently_used_is_forgotten(project: Path, encoded: Counter[str]) -> None:
    conditions = Conditions(tiny_model(), images_of(project), 2 * ONE)
    first, second, third = ids(project)[:3]
    for lr_id in (first, second, first, third, first, second):
        conditions.of([lr_id], CPU)
        assert conditions.bytes <= 2 * ONE
    assert encoded == {first: 1, second: 2, third: 1}


def test_nothing_is_kept_without_memory(project: Path, encoded: Counter[str]) -> None:
    conditions = Conditions(tiny_model(), images_of(project), 0)
    lr_id = ids(project)[0]
    conditions.of([lr_id], CPU)
    conditions.of([lr_id], CPU)
    assert (encoded[lr_id], conditions.bytes) == (2, 0)


@pytest.mark.parametrize("megabytes", [0, 1024])
def test_training_encodes_each_lr_once(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, megabytes: int
) -> None:
    model = tiny_model()
    calls, condition = [], model.condition

    def counting(*arguments: Any) -> Condition:
        calls.append(1)
        return condition(*arguments)

    monkeypatch.setattr(model, "condition", counting)
    trainer(project, str(tmp_path / "c"), model, steps=6, condition_cache_mb=megabytes).run()
    assert len(calls) == (GROUPS if megabytes else 6 * 4)


def store_latents(project: Path, of: Callable[[torch.Tensor], torch.Tensor]) -> None:
    path = project / "data/candidates/00000-of-00001.tar"
    reader, images = ShardFolder(path.parent)[path.name], images_of(project)
    members = [(name, reader.read(name)) for name in reader]
    for row in tables.read_rows(project / "data/candidates.parquet", tables.CANDIDATES):
        latent = of(images.candidates(row["lr_id"], [row["index"]]))[0]
        members.append((latents.member(row["lr_id"], row["index"]), latents.encode(latent)))
    write_shard(path, members)


def test_a_stored_latent_is_not_encoded_again(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    single = tiny_model()
    models = [LatentFlow(single.config, tiny_model().policy, 2, CPU) for _ in range(2)]
    before = trainer(project, str(tmp_path / "a"), models[0]).run()
    store_latents(project, models[0].encode)
    monkeypatch.setattr(models[1], "encode", lambda images: pytest.fail("encoded again"))
    after = trainer(project, str(tmp_path / "b"), models[1]).run()
    for name, tensor in before.policy.items():
        assert torch.equal(tensor, after.policy[name])


def test_latents_of_another_model_are_refused(project: Path, tmp_path: Path) -> None:
    store_latents(project, lambda images: images[:, :, ::2, ::2])
    with pytest.raises(BadInput, match=r"are \(3, 16, 16\), backbone\.base takes \(3, 32, 32\).* run generate"):
        trainer(project, str(tmp_path / "a")).run()
