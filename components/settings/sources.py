"""Settings of the sources of training batches; the sources are components/train/batches/."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from components.settings.block import Block, Positive

Weight = Annotated[float, Field(ge=0.0)]


class PairsSource(Block):
    """Preference pairs of candidates, and the objective over them."""

    kind: Literal["pairs"] = "pairs"
    of_pairs: ClassVar[bool] = True

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metrics that it needs a gradient of."""
        return ()


class BirdSource(Block):
    """Rewards with a gradient, of images and no pairs (Bird-SR, arXiv 2602.07069).

    Attributes:
        distortion: FR metric D that noisy steps lower.
        reward: NR metric r that late steps raise, up to the HR's own and `margin` beyond it; in its own unit.
        distortion_weight: of D.
        reward_weight: of what r lacks; in 1 over its unit.
        structure_weight: of the difference of features from the reference's restoration, for LR images without HR.
        gamma: noise levels t count for D by t^gamma, and for r by the rest.
        margin: in the unit of r.
        target: of r for LR images without HR, in its unit.
    """

    kind: Literal["bird_sr"]
    of_pairs: ClassVar[bool] = False
    distortion: str = "stlpips"
    reward: str = "rank_effnet"
    distortion_weight: Weight = 1.0
    reward_weight: Weight = 1e-5
    structure_weight: Weight = 1e-4
    gamma: Positive = 8.0
    margin: Weight = 0.04
    target: float = 1.0

    @property
    def metrics(self) -> tuple[str, ...]:
        return (self.distortion, self.reward)


def _short_form(value: Any) -> Any:
    """A name alone is a source with its own defaults."""
    return {"kind": value} if isinstance(value, str) else value


AnySource = Annotated[PairsSource | BirdSource, BeforeValidator(_short_form), Field(discriminator="kind")]
