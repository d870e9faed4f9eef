"""Metrics computed by pyiqa's own networks (PolyForm Noncommercial), from local weight files only."""

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch

from components.errors import BadInput
from components.metrics.base import Context, check_inputs, digest_of, need
from components.metrics.table import Kind, MetricInfo

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read once, when huggingface_hub is first imported

_REVISION = 1
# Where a network takes the path of its weights as an argument; the others look into the folders set by `_local_only`.
_WEIGHTS_BY_ARGUMENT = frozenset({"niqe", "brisque", "stlpips", "stlpips-vgg"})
# Checkpoints of these contain the backbone, so that ImageNet weights for it would be fetched only to be overwritten:
# TOPIQ on ResNet has an option for that, the others always ask for them.
_WHOLE_CHECKPOINT = frozenset({"nima", "topiq_iaa"})
_OPTIONS: dict[str, dict[str, Any]] = {
    "topiq_fr": {"backbone_pretrain": False},
    "topiq_nr": {"backbone_pretrain": False},
}
_BRISQUE_RHO = -155.845  # of the libsvm model that the brisque package ships; pyiqa's constant is another model's


@contextlib.contextmanager
def _local_only(row: MetricInfo, folder: Path) -> Iterator[None]:
    """pyiqa, torch.hub and the hub cache look into `folder`, and what they lack is an error, not a download."""
    import huggingface_hub.constants as hub_constants  # noqa: PLC0415
    import huggingface_hub.errors as hub_errors  # noqa: PLC0415
    import pyiqa.utils.download_util as pyiqa_download  # noqa: PLC0415

    def refuse(url: str, *_: object, **__: object) -> None:
        raise BadInput(
            f"metric {row.name} lacks its weight file {Path(urlparse(url).path).name} in {folder}: fetch {url} on a "
            "machine with network and put it there (components/metrics/table.py lists the sub-folders)"
        )

    torch_home, pyiqa_home, hub_cache = (
        torch.hub.get_dir(),
        pyiqa_download.DEFAULT_CACHE_DIR,
        hub_constants.HF_HUB_CACHE,
    )
    downloads = torch.hub.download_url_to_file, pyiqa_download.download_url_to_file
    torch.hub.set_dir(str(folder))
    pyiqa_download.DEFAULT_CACHE_DIR = str(folder / "pyiqa")
    hub_constants.HF_HUB_CACHE = str(folder / "huggingface")
    torch.hub.download_url_to_file = pyiqa_download.download_url_to_file = refuse
    try:
        yield
    except hub_errors.LocalEntryNotFoundError as error:
        raise BadInput(f"metric {row.name}: {error}; its hub cache is {folder / 'huggingface'}") from error
    finally:
        torch.hub.set_dir(torch_home)
        pyiqa_download.DEFAULT_CACHE_DIR, hub_constants.HF_HUB_CACHE = pyiqa_home, hub_cache
        torch.hub.download_url_to_file, pyiqa_download.download_url_to_file = downloads


@contextlib.contextmanager
def _no_backbone_weights() -> Iterator[None]:
    """pyiqa's networks build their backbones without pretrained weights."""
    import timm  # noqa: PLC0415
    from pyiqa.archs import topiq_arch  # noqa: PLC0415

    create, swin = timm.create_model, topiq_arch.create_swin
    timm.create_model = lambda name, **options: create(name, **(options | {"pretrained": False}))
    topiq_arch.create_swin = lambda name, **options: swin(name, **(options | {"pretrained": False}))
    try:
        yield
    finally:
        timm.create_model, topiq_arch.create_swin = create, swin


def network(row: MetricInfo, device: torch.device, folder: Path) -> Any:
    """pyiqa's network of metric `row`, in evaluation mode, without gradients.

    Raises:
        BadInput: a weight file is missing.
    """
    import pyiqa  # noqa: PLC0415  # on demand: it takes seconds, and whoever asks for a digest alone needs none of it

    options = dict(_OPTIONS.get(row.name, {}))
    if row.name in _WEIGHTS_BY_ARGUMENT:
        options["pretrained_model_path"] = str(folder / row.weights[0].path)
    backbone = _no_backbone_weights() if row.name in _WHOLE_CHECKPOINT else contextlib.nullcontext()
    # pyiqa prints what it loads; standard output belongs to the commands.
    with _local_only(row, folder), backbone, contextlib.redirect_stdout(io.StringIO()):
        net = pyiqa.create_metric(row.pyiqa_name, device=device, **options).net
    if row.name == "brisque":
        net.rho = _BRISQUE_RHO
    return net.eval().requires_grad_(False)


class PyiqaMetric:
    """A metric whose network takes a batch and the HR image beside it, or one image at a time."""

    def __init__(self, row: MetricInfo, device: torch.device, folder: Path) -> None:
        self.info = row
        self.device = device
        self.digest = digest(row, folder)
        self._network = network(row, device, folder)

    def prepare(self, hr: torch.Tensor | None, lr: torch.Tensor | None) -> Context:
        """See `Metric.prepare`."""
        if self.info.kind is not Kind.FR:
            return Context(None, None)
        return Context(need(self.info, hr, "HR image").to(self.device), None)

    @torch.no_grad()
    def __call__(self, candidates: torch.Tensor, context: Context) -> torch.Tensor:
        """See `Metric.__call__`. One image at a time where the table says so."""
        check_inputs(self.info, candidates, context.hr)
        parts = [candidates] if self.info.batched else [image[None] for image in candidates]
        return torch.cat([self._score(part.to(self.device), context.hr) for part in parts])

    def _score(self, images: torch.Tensor, hr: torch.Tensor | None) -> torch.Tensor:
        # A clone, since some of pyiqa's networks normalise their input in place.
        inputs = [images.clone()]
        if hr is not None:
            inputs.append(hr.expand_as(images).clone())
        scores: torch.Tensor = self._network(*inputs)
        return scores.float().reshape(len(images)).cpu()


def digest(row: MetricInfo, folder: Path) -> str:
    """What `build` gives its metric as digest, see `base.digest`."""
    return digest_of(row, folder, _REVISION)


def build(row: MetricInfo, device: torch.device, folder: Path) -> PyiqaMetric:
    """The adapter of `row`, see `base.load`."""
    return PyiqaMetric(row, device, folder)
