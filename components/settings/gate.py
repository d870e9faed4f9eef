"""What a challenger must show before it becomes the champion: the `gate` block of params.yaml."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
NotNegative = Annotated[float, Field(ge=0.0)]
Positive = Annotated[float, Field(gt=0.0)]
Count = Annotated[int, Field(ge=1)]
KEY_KIND, KEY_BYTES = "ed25519:", 32
"""How a public key begins, and its size once decoded."""


def _public_key(text: str) -> str:
    try:
        size = len(base64.b64decode(text.removeprefix(KEY_KIND), validate=True))
    except binascii.Error:
        size = 0
    if not text.startswith(KEY_KIND) or size != KEY_BYTES:
        raise ValueError(f"{text!r} is no public key: write the line that `dp2o keys new` printed ({KEY_KIND}…)")
    return text


PublicKey = Annotated[str, AfterValidator(_public_key)]
"""`ed25519:` and base64 of 32 bytes."""
Anchor = Annotated[str, Field(pattern=r"^$|^s3://[^/]+(/.*)?$|^git\+[^#]+#[^#]+$")]
"""`s3://bucket/prefix/`, `git+<repository>#<branch>`, or nothing."""


class GuardLimits(BaseModel):
    """Limits of one guard against reward hacking, in the guard's unit (components/judge/guards.py)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    rise: NotNegative = Field(description="Most that the mean may rise above the champion's, at the interval's end.")
    bound: float = Field(description="Most that the 95th percentile of the challenger's restorations may reach.")


class FidelityLimits(BaseModel):
    """Limits of one fidelity metric, in its unit; higher is better."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    drop: NotNegative = Field(description="Most that the mean may fall below the champion's, at the interval's end.")
    floor: float = Field(description="Least mean of the challenger.")


class StudyLimits(BaseModel):
    """What people must have said in a blinded study of the two models (docs/study.md)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: Annotated[str, Field(min_length=1)] = Field(description="Of the study, a folder in studies/.")
    min_win_rate: Fraction = Field(
        default=0.5, description="The interval of people's preference for the challenger must lie above this."
    )
    min_raters: Count = Field(default=3, description="Fewer raters, excluded ones not counted, refuse.")


class GateSettings(BaseModel):
    """Thresholds and policy. The defaults were set on the embedded model; another backbone needs its own look."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    policy: Literal["manual", "automatic"] = Field(
        default="manual", description="manual: a passed gate waits for --approved-by; automatic: it is promoted."
    )
    valid_hours: NotNegative = Field(
        default=168.0,
        description="Hours for which a report of the same versions, set, metrics and limits is used again.",
    )
    signing: Literal["ed25519", "none"] = Field(
        default="ed25519",
        description="ed25519: records of the history are signed, and only models of signed records load; none: not.",
    )
    signers: dict[Annotated[str, Field(min_length=1)], PublicKey] = Field(
        default={}, description="Public keys of who may promote, by name; `dp2o keys new` makes a pair."
    )
    anchor: Anchor = Field(
        default="",
        description="Where the end of the history is kept outside the registry: s3://bucket/prefix/ or "
        "git+<repository>#<branch>; empty: nowhere, and deleting the last records goes unnoticed.",
    )
    benchmark: str = Field(
        default="", description="Name of the frozen benchmark set; empty: the newest, frozen at first use."
    )
    seeds: Annotated[int, Field(ge=2, le=64)] = Field(default=3, description="Seeds an image when a set is frozen.")
    bootstrap: Annotated[int, Field(ge=100)] = Field(default=2000, description="Resamples of the photos.")
    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = Field(default=0.95, description="Of all intervals.")
    min_images: Count = Field(default=20, description="Fewer LR images in the benchmark set refuse everything.")
    min_photos: Count = Field(
        default=10,
        description="Fewer source photos do, too: below ten clusters a bootstrap's intervals are too narrow.",
    )
    min_gain: NotNegative = Field(default=0.0, description="The reward's gain must lie above this, interval and all.")
    held_out_margin: Fraction = Field(
        default=0.1,
        description="Most that a held-out metric may get worse, in standard deviations of the champion's restorations "
        "(0.2 is called a small effect), where `margins` does not name it.",
    )
    controls: dict[Literal["gain", "steps"], Annotated[float, Field(gt=0.0)]] = Field(
        default={},
        description="Factors of the champion's residual gain and sampler steps: so changed, without any training, it "
        "must be beaten as well. Of this project's own models.",
    )
    margins: dict[str, NotNegative] = Field(default={}, description="The same in the metric's own unit, by metric.")
    fidelity: dict[Literal["psnr", "ssim", "psnr_y", "ssim_y", "lr_consistency"], FidelityLimits] = Field(
        default={
            "psnr": FidelityLimits(drop=1.0, floor=15.0),
            "ssim": FidelityLimits(drop=0.03, floor=0.3),
            "lr_consistency": FidelityLimits(drop=1.0, floor=20.0),
        },
        description="By metric; one that is left out is not checked. The paper's own gain costs 1.1 dB of PSNR.",
    )
    guards: dict[Literal["colour_shift", "grid", "border", "clipping"], GuardLimits] = Field(
        default={
            "colour_shift": GuardLimits(rise=0.5, bound=3.0),
            "grid": GuardLimits(rise=1.0, bound=14.0),
            "border": GuardLimits(rise=0.5, bound=4.0),
            "clipping": GuardLimits(rise=0.5, bound=5.0),
        },
        description="By guard; one that is left out is not checked.",
    )
    study: StudyLimits | None = Field(
        default=None,
        exclude_if=lambda study: study is None,
        description="A study of challenger and champion, by their weights; none: people are not asked.",
    )
    min_diversity_ratio: Fraction = Field(
        default=0.25, description="Least spread over seeds, of the champion's; the paper's alignment halves it."
    )
    min_diversity: NotNegative = Field(default=0.1, description="Least spread over seeds, grey levels.")
    max_latency_ratio: Positive = Field(default=1.5, description="Most time a restoration, of the champion's.")
    max_seconds: Positive = Field(default=10.0, description="Most time a restoration of a benchmark image, s.")
    max_memory_mb: Positive = Field(default=8192.0, description="Most memory while restoring one, MB.")
