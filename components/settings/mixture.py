"""How much of base and of aligned model predicts at each step of a sampling."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from components.settings.block import Block, Fraction

Strength = Annotated[float, Field(ge=0.0, le=2.0)]
Power = Annotated[float, Field(ge=0.0, le=8.0)]


class MixtureSettings(Block):
    """At step i of T, from noise, the prediction is (1 - w) base + w aligned; see `weights`.

    Attributes:
        strength: 0 is the base, 1 the aligned model; between them fidelity is traded for what was rewarded, and above 1
            the alignment is exaggerated.
        power: the larger, the later in a sampling the aligned model has a say: annealed guidance; 0 = from the start.
        start: share of the steps that the base makes alone; costs no second prediction at strength 1 and power 0.
        preference: what a policy with a dial is told, 0 for fidelity to 1 for realism; None tells it nothing. At
            strength 1 it costs no second prediction.
    """

    strength: Strength = 1.0
    power: Power = 0.0
    start: Fraction = 0.0
    preference: Fraction | None = Field(default=None, exclude_if=lambda preference: preference is None)

    @property
    def needs_base(self) -> bool:
        """Whether the base predicts in some step."""
        return (self.strength, self.power, self.start) != (1.0, 0.0, 0.0)

    @property
    def branch(self) -> Literal["policy", "reference"] | None:
        """The branch that this is, whatever the number of steps; None for a mixture."""
        if self.strength == 0.0:
            return "reference"
        return None if self.needs_base or self.preference is not None else "policy"

    @property
    def name(self) -> str:
        """For people, such as `strength 1, power 2`."""
        told = {"power": self.power, "start": self.start}
        words = [f"strength {self.strength:g}", *(f"{key} {value:g}" for key, value in told.items() if value)]
        if self.preference is not None:
            words = [f"preference {self.preference:g}", *(words if self.needs_base else [])]
        return ", ".join(words)

    def weights(self, steps: int) -> tuple[float, ...]:
        """w of each of `steps` steps, the noisiest first: strength (i/T)^power, and 0 where i/T is below `start`.

        With strength 1 this is annealed importance guidance (AIG, arXiv 2409.06493).
        """
        places = [step / steps for step in range(steps)]
        return tuple(0.0 if place < self.start else self.strength * place**self.power for place in places)

    def passes(self, steps: int) -> int:
        """Predictions that a sampling of `steps` steps takes: two in a step that mixes, else one."""
        return sum(1 if weight in (0.0, 1.0) else 2 for weight in self.weights(steps))


def _short_form(value: Any) -> Any:
    """A number alone is a strength."""
    return {"strength": value} if isinstance(value, int | float) and not isinstance(value, bool) else value


Mixed = Annotated[MixtureSettings, BeforeValidator(_short_form)]
"""As params.yaml has it: a block, or a number, which is its strength."""
