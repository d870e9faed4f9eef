"""Block `score`: metrics that are rewarded and metrics that are held out."""

from pydantic import Field, model_validator

from components.settings.block import Block, Count
from components.settings.judges import AnyJudge


class ScoreSettings(Block):
    """Metrics, and models that are asked.

    Attributes:
        fr, nr: metrics of the reward's two sides.
        held_out: metrics that are measured and not rewarded.
        judges: vision-language models that label pairs beside the metrics; the models that are trained are not judged
            by them.
        batch: candidates a metric call.
    """

    fr: list[str]
    nr: list[str]
    held_out: list[str]
    judges: tuple[AnyJudge, ...] = Field(default=(), exclude_if=lambda judges: not judges)
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
        kinds = [judge.kind for judge in self.judges]
        repeated = sorted({kind for kind in kinds if kinds.count(kind) > 1})
        if repeated:
            raise ValueError(f"judges has {', '.join(repeated)} more than once: a judge has one column; name it once")
        return self

    @property
    def all_metrics(self) -> list[str]:
        """Rewarded metrics first, then the held-out ones."""
        return [*self.fr, *self.nr, *self.held_out]
