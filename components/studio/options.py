"""What the page may ask for."""

from pydantic import BaseModel, ConfigDict, Field

from components.settings import MixtureSettings

MOST_SEEDS = 16
LARGEST_SEED = 2**31 - 1


class Options(BaseModel):
    """Of one restoration.

    Attributes:
        photo: id of an uploaded photo.
        seed: of the noise; the first of several.
        seeds: how many restorations.
        strength, preference: as of `MixtureSettings`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    photo: str = Field(max_length=64)
    seed: int = Field(default=0, ge=0, le=LARGEST_SEED - MOST_SEEDS)
    seeds: int = Field(default=1, ge=1, le=MOST_SEEDS)
    strength: float = Field(default=1.0, ge=0.0, le=2.0)
    preference: float | None = Field(default=None, ge=0.0, le=1.0)

    @property
    def mixture(self) -> MixtureSettings:
        """Of base and aligned model."""
        return MixtureSettings(strength=self.strength, preference=self.preference)

    @property
    def all_seeds(self) -> range:
        """Of all restorations."""
        return range(self.seed, self.seed + self.seeds)
