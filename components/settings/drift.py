"""When new LR images count as different, and when to train again: the `drift` block of params.yaml."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=1)]


class DriftSettings(BaseModel):
    """Thresholds."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    metric: str = Field(default="rank_nss", description="NR metric of the LR, enlarged to the output's size.")
    psi: Annotated[float, Field(gt=0.0)] = Field(
        default=0.25, description="Population stability index from which a change is large; .1 is called small."
    )
    alpha: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
        default=0.01, description="Of the Kolmogorov-Smirnov test over all statistics together."
    )
    bins: Annotated[int, Field(ge=2)] = Field(default=10, description="Of the PSI, equally full in the training set.")
    min_images: Count = Field(default=30, description="With fewer pictures on either side there is no verdict.")
    sample: Count = Field(default=2000, description="Most pictures of the training set that are measured.")
    retrain_images: Count = Field(default=200, description="New pictures from which to train again, drift or not.")
