"""Block `score`: metrics that are rewarded and metrics that are held out."""

from pydantic import model_validator

from components.settings.block import Block, Count


class ScoreSettings(Block):
    fr: list[str]
    nr: list[str]
    held_out: list[str]
    batch: Count

    @model_validator(mode="after")
    def _disjoint(self) -> "ScoreSettings":
        if not self.fr and not self.nr:
            raise ValueError("fr and nr are both empty: the reward needs at least one metric")
        twice = sorted(name for name in self.all_metrics if self.all_metrics.count(name) > 1)
        if twice:
            raise ValueError(
                f"{sorted(set(twice))} named more than once: a metric is either rewarded (fr, nr) or held out "
                "(held_out)"
            )
        return self

    @property
    def all_metrics(self) -> list[str]:
        """Rewarded metrics first, then the held-out ones."""
        return [*self.fr, *self.nr, *self.held_out]
