"""Where production's pictures are, and what is healthy: the `monitor` block of params.yaml."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from components.settings.secret import PublicUrl

Count = Annotated[int, Field(ge=1)]


class MonitorSettings(BaseModel):
    """Limits; those of fidelity and guards are the gate's own."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    pairs: PublicUrl = Field(default="", description="Folder or s3:// prefix with <name>.lr.png and <name>.sr.png.")
    sample: Count = Field(default=200, description="Most pairs that are scored: the newest.")
    min_pairs: Count = Field(default=30, description="Fewer pairs are no sign of health.")
    max_pixels: Count = Field(default=16_000_000, description="Larger pictures are not scored, px.")
    drop: Annotated[float, Field(gt=0.0)] = Field(
        default=0.5,
        description="Most that an NR metric's mean may be worse than at promotion, in standard deviations of then.",
    )
