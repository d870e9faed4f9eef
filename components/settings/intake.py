"""Where new LR images come from, and what is taken: the `intake` block of params.yaml."""

from __future__ import annotations

from datetime import UTC, datetime  # pydantic reads the annotations
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from components.settings.secret import PublicUrl

Count = Annotated[int, Field(ge=1)]
NotNegative = Annotated[float, Field(ge=0.0)]


class IntakeSettings(BaseModel):
    """Limits and places. Without a source nothing is looked for."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    source: PublicUrl = Field(default="", description="s3://bucket/prefix/ to look under; empty: none.")
    quarantine: PublicUrl = Field(
        default="", description="s3://bucket/prefix/ for what cannot be used; not within `source`."
    )
    settle_seconds: NotNegative = Field(
        default=60.0, description="Objects younger than this, by the server's clock, wait for the next run."
    )
    overlap_hours: NotNegative = Field(
        default=168.0,
        description="How far behind the watermark an object may still appear: S3 dates a large upload by its start.",
    )
    max_bytes: Count = Field(default=64_000_000, description="Larger objects are quarantined without a download.")
    max_pixels: Count = Field(default=16_000_000, description="Larger pictures are quarantined before decoding.")
    max_images: Count = Field(default=10_000, description="Most objects handled a run; the others wait.")
    seconds_an_image: Annotated[float, Field(gt=0.0)] = Field(
        default=30.0, description="Decoding that takes more processor time is taken for an attack."
    )
    seconds_a_run: Annotated[float, Field(gt=0.0)] = Field(
        default=14_400.0, description="No further object is begun after so long; the others wait."
    )
    bytes_a_run: Count = Field(
        default=20_000_000_000, description="No further object is begun after so many were downloaded and kept."
    )
    attempts: Count = Field(default=8, description="Calls a request to S3 before it counts as failed.")
    timeout: Annotated[float, Field(gt=0.0)] = Field(default=30.0, description="Of a request to S3, s.")

    since: datetime | None = Field(default=None, description="Backfill: objects dated from then on.")
    until: datetime | None = Field(default=None, description="Backfill: objects dated before then.")
    everything: bool = Field(default=False, description="Backfill of all that is there.")
    dry_run: bool = Field(default=False, description="Judge, but write nothing but the report.")

    @field_validator("since", "until")
    @classmethod
    def _in_utc(cls, date: datetime | None) -> datetime | None:
        return date.replace(tzinfo=UTC) if date is not None and date.tzinfo is None else date

    @property
    def backfill(self) -> bool:
        """True where dates decide what is looked at, not the watermark."""
        return self.everything or self.since is not None or self.until is not None

    def includes(self, date: datetime) -> bool:
        """Whether an object's date lies within since and until."""
        return (self.since is None or date >= self.since) and (self.until is None or date < self.until)

    @model_validator(mode="after")
    def _consistent(self) -> IntakeSettings:
        if self.source and not self.quarantine:
            raise ValueError("source is set, but quarantine is not: what cannot be used needs a place of its own")
        if self.overlap_hours * 3600 < self.settle_seconds:
            raise ValueError("overlap_hours is shorter than settle_seconds: objects that wait would be passed over")
        return self
