"""The launch configurations are what accelerate reads; which GPU a part of the work takes."""

import pytest
import torch
import yaml
from accelerate.commands.config.config_args import load_config_from_file

from components.artifacts.shards import Shard
from components.runtime.process import resolve_device
from tests.made import REPOSITORY


@pytest.mark.parametrize(("name", "kind"), [("ddp", "MULTI_GPU"), ("fsdp2", "FSDP")])
def test_accelerate_reads_the_configurations(name: str, kind: str) -> None:
    path = REPOSITORY / f"launch/{name}.yaml"
    config = load_config_from_file(str(path))
    assert str(config.distributed_type).endswith(kind)
    assert config.num_processes == 8
    assert set(yaml.safe_load(path.read_text())) - set(vars(config)) == set()


def test_the_blocks_to_wrap_are_there() -> None:
    from diffusers.models.transformers.transformer_flux import FluxTransformerBlock  # noqa: PLC0415

    config = load_config_from_file(str(REPOSITORY / "launch/fsdp2.yaml"))
    assert config.fsdp_config["fsdp_version"] == 2
    assert config.fsdp_config["fsdp_transformer_layer_cls_to_wrap"] == FluxTransformerBlock.__name__


@pytest.mark.parametrize(
    ("gpus", "shard", "device"),
    [
        (0, Shard(3, 8), "cpu"),
        (1, Shard(3, 8), "cuda"),
        (4, None, "cuda"),
        (4, Shard(0, 8), "cuda:0"),
        (4, Shard(3, 8), "cuda:3"),
        (4, Shard(6, 8), "cuda:2"),
    ],
)
def test_parts_of_the_work_take_a_gpu_each(
    monkeypatch: pytest.MonkeyPatch, gpus: int, shard: Shard | None, device: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert resolve_device("auto", shard) == torch.device(device)
    assert resolve_device("cpu", shard) == torch.device("cpu")
