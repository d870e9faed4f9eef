"""Settings of the sources of training batches; the sources are components/train/batches/."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from components.settings.block import Block, Count, Positive

Weight = Annotated[float, Field(ge=0.0)]


class PairsSource(Block):
    """Preference pairs of candidates, and the objective over them."""

    kind: Literal["pairs"] = "pairs"
    of_pairs: ClassVar[bool] = True
    rolled: ClassVar[bool] = False

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
    rolled: ClassVar[bool] = False
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


class RolledSource(Block):
    """What samples with the policy itself while it trains: a roll-out of groups, gradient steps on it, the next one.

    A roll-out's groups are those of `train.groups_per_step`; all of them are in each of its gradient steps.

    Attributes:
        candidates: of a group, B.
        inner_steps: gradient steps on a roll-out before the next one.
        steps: of the sampling; null takes backbone.steps.
    """

    kind: str
    of_pairs: ClassVar[bool] = False
    rolled: ClassVar[bool] = True
    candidates: Annotated[int, Field(ge=2)] = 8
    inner_steps: Count = 4
    steps: Count | None = None

    @property
    def metrics(self) -> tuple[str, ...]:
        return ()


class PRDPSource(RolledSource):
    """Reward difference prediction on the trajectories of a stochastic sampler (PRDP, arXiv 2402.08714).

    Attributes:
        beta: reward per log-probability: deviations of the reward within a group, per nat an element of the state.
        clip: most that a step's log-ratio to the reference may differ from that at the roll-out, nats an element.
        noise_level: a of a flow's stochastic steps, see `backbones.samplers.stochastic`; sqrt(2) is the most.
    """

    kind: Literal["prdp"]
    beta: Positive = 1000.0
    clip: Positive = 1e-3
    noise_level: Annotated[float, Field(gt=0.0, le=2.0**0.5)] = 0.7


class NFTSource(RolledSource):
    """Negative-aware fine-tuning on noised samples of the policy (DiffusionNFT, arXiv 2509.16117); for flows.

    Attributes:
        beta: how far the two implicit policies are from the old one, in steps of the policy.
        advantage_clip: deviations of the reward at which a candidate is wholly good (r = 1) or wholly bad (0).
        reference_weight: of the squared distance of the velocity from the reference's.
        old_decay: most of the old policy that a new roll-out keeps.
        old_rate: its rise by optimiser step, from 0.
    """

    kind: Literal["nft"]
    beta: Positive = 1.0
    advantage_clip: Positive = 5.0
    reference_weight: Weight = 1e-4
    old_decay: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.5
    old_rate: Weight = 1e-3


def _short_form(value: Any) -> Any:
    """A name alone is a source with its own defaults."""
    return {"kind": value} if isinstance(value, str) else value


AnySource = Annotated[
    PairsSource | BirdSource | PRDPSource | NFTSource, BeforeValidator(_short_form), Field(discriminator="kind")
]
