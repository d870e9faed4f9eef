"""Entering a restorer late: the last residual blocks of its trunk see another LR than the ones before them.

ESRGAN's generator (Wang et al., arXiv 1809.00219) and its descendants are a first convolution, a trunk of residual
blocks, and a tail that enlarges. What a block adds is small, so that its input is the first convolution's features f
plus what the blocks before it added, and a change of the LR can be told to the last blocks alone:

    h' = h + w (f' - f)

with h what enters them, f' the features of the changed LR, and w how strongly they are told. The tail gets f', as it
would from the whole network. This costs a part of what restoring anew does, and the earlier blocks cannot take a small
change for noise and paint over it.
"""

from dataclasses import dataclass

from torch import Tensor

from components.backbones.restorers.ncnn import NcnnNetwork


@dataclass(frozen=True)
class Look:
    """What a restorer saw of an LR, in the middle of its work.

    Attributes:
        features: f, the first convolution's, `[B, C, h, w]`.
        state: h, what enters the last blocks, `[B, C, h, w]`.
        picture: what it restored, `[B, 3, H, W]`, not clamped.
    """

    features: Tensor
    state: Tensor
    picture: Tensor


class Trunk:
    """The residual blocks of an ncnn network; a network that has none has 0.

    A block ends where the layers that follow read two things of the ones before: the first convolution's features,
    once, and the block's sum.
    """

    def __init__(self, network: NcnnNetwork) -> None:
        self._network = network
        layers = network.layers
        origin: dict[str, str] = {}
        for layer in layers:
            through = layer.kind == "Split"
            origin.update({name: origin[layer.inputs[0]] if through else name for name in layer.outputs})
        first = next((number for number, layer in enumerate(layers) if layer.kind == "Convolution"), len(layers))
        self._first = first
        self._ends: list[tuple[int, str]] = []
        for number, layer in enumerate(layers):
            if number > first and layer.kind in ("Eltwise", "BinaryOp"):
                (total,) = layer.outputs
                before = (name for other in layers[:number] for name in other.outputs)
                alive = [name for name in before if network.last_use(name) > number]
                if [origin[name] for name in alive] == list(layers[first].outputs) and network.last_use(total) > number:
                    self._ends.append((number, alive[0]))

    @property
    def blocks(self) -> int:
        """How many can be told apart from what is before them: all but the first."""
        return max(len(self._ends) - 1, 0)

    def look(self, lr: Tensor, blocks: int) -> Look:
        """Restore `[B, 3, h, w]`, and keep what its last `blocks` blocks will need."""
        at, passing = self._ends[-1 - blocks]
        blobs: dict[str, Tensor] = {}
        state = self._network.run(blobs, lr, 0, at + 1)
        features = blobs[passing]
        picture = self._network.run(blobs, lr, at + 1, len(self._network.layers))
        return Look(features, state, picture)

    def again(self, lr: Tensor, features: Tensor, state: Tensor, blocks: int, strength: float) -> Tensor:
        """`[B, 3, H, W]`, not clamped: what the last `blocks` blocks make of another LR `[B, 3, h, w]`.

        Args:
            features: f of the first LR, by `look`.
            state: h of the first LR, by `look` with as many blocks.
            strength: w, see the module's docstring.
        """
        at, passing = self._ends[-1 - blocks]
        changed = self._network.run({}, lr, 0, self._first + 1)
        blobs = {passing: changed, self._network.layers[at].outputs[0]: state + strength * (changed - features)}
        return self._network.run(blobs, lr, at + 1, len(self._network.layers))
