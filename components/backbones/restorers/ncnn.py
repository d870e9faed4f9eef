"""Networks in ncnn's `.param`/`.bin` format as torch modules; only the layers that super-resolvers of the field use.

The `.param` file is text: a magic number, the counts of layers and blobs, then one line a layer
(`type name inputs outputs input-names output-names key=value ...`). The `.bin` file holds the weights in layer order:
a convolution's kernel as a 4-byte tag and fp16 values padded to 4 bytes (or, with tag 0, float32), then its bias and
a PReLU's slopes as plain float32. Format: https://github.com/Tencent/ncnn/wiki/param-and-model-file-structure
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.errors import BadInput

MAGIC = "7767517"
FP16_TAG = 0x01306B47
FLOAT32_TAG = 0
ARRAY_KEY = -23300
"""Keys at or below this hold arrays, `count,value,value,...`; the parameter's number is ARRAY_KEY - key."""

LEAKY_RELU = 2


@dataclass(frozen=True)
class Layer:
    """One line of a `.param` file; `parameters` maps a parameter's number to its value or values."""

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    parameters: dict[int, tuple[float, ...]]

    def number(self, key: int, default: float) -> float:
        """Scalar parameter `key`, or what ncnn assumes where the line leaves it out."""
        return self.parameters.get(key, (default,))[0]


def read_param(text: str, name: str) -> list[Layer]:
    """Layers of a `.param` text, in file order; `name` is for messages.

    Raises:
        BadInput: not this format, or the layer count in its header is wrong.
    """
    lines = text.splitlines()
    try:
        if lines[0].strip() != MAGIC:
            raise ValueError(f"starts with {lines[0][:20]!r}, not {MAGIC}")
        expected = int(lines[1].split()[0])
        layers = [_layer(line) for line in lines[2:] if line.strip()]
        if len(layers) != expected:
            raise ValueError(f"announces {expected} layers and has {len(layers)}")
    except (ValueError, IndexError) as error:
        raise BadInput(f"{name} is not an ncnn .param file ({error}); install its package again") from error
    return layers


def _layer(line: str) -> Layer:
    kind, name, input_count, output_count, *rest = line.split()
    inputs, outputs = int(input_count), int(output_count)
    parameters: dict[int, tuple[float, ...]] = {}
    for pair in rest[inputs + outputs :]:
        key, _, value = pair.partition("=")
        if int(key) <= ARRAY_KEY:
            parameters[ARRAY_KEY - int(key)] = tuple(float(part) for part in value.split(",")[1:])
        else:
            parameters[int(key)] = (float(value),)
    return Layer(kind, name, tuple(rest[:inputs]), tuple(rest[inputs : inputs + outputs]), parameters)


class _Weights:
    """Reads a `.bin` from its start to its end."""

    def __init__(self, content: bytes, name: str) -> None:
        self._content, self._at, self._name = content, 0, name

    def floats(self, count: int) -> Tensor:
        """`count` plain float32 values."""
        return torch.from_numpy(np.frombuffer(self._take(4 * count), "<f4").copy())

    def tagged(self, count: int) -> Tensor:
        """`count` values behind a tag that says how they are stored, as float32."""
        tag = int.from_bytes(self._take(4), "little")
        if tag == FLOAT32_TAG:
            return self.floats(count)
        if tag != FP16_TAG:
            raise BadInput(
                f"{self._name}: weights with tag {tag:#010x} at byte {self._at - 4}; only fp16 and float32 are read"
            )
        size = 2 * count
        content = self._take(size + -size % 4)[:size]
        return torch.from_numpy(np.frombuffer(content, "<f2").astype(np.float32))

    def finish(self) -> None:
        """Raise BadInput unless every byte was read: leftovers mean that weights and layers do not belong together."""
        if self._at != len(self._content):
            raise BadInput(
                f"{self._name}: {len(self._content) - self._at} bytes are left over; it does not fit its .param"
            )

    def _take(self, size: int) -> bytes:
        part = self._content[self._at : self._at + size]
        if len(part) != size:
            raise BadInput(
                f"{self._name} ends after {len(self._content)} bytes; it is cut short or does not fit its .param"
            )
        self._at += size
        return part


class _Convolution(nn.Module):
    def __init__(self, layer: Layer, weights: _Weights) -> None:
        super().__init__()
        outputs, kernel = int(layer.number(0, 0)), int(layer.number(1, 0))
        size = int(layer.number(6, 0))
        unsupported = {2: 1, 3: 1, 18: 0}  # dilation, stride, padding value: key -> the only value taken
        _refuse(layer, any(layer.number(key, only) != only for key, only in unsupported.items()))
        activation = int(layer.number(9, 0))
        _refuse(layer, activation not in (0, LEAKY_RELU))
        self.slope = layer.parameters[10][0] if activation == LEAKY_RELU else 1.0
        self.padding = int(layer.number(4, 0))
        inputs = size // (outputs * kernel * kernel)
        self.weight = nn.Parameter(weights.tagged(size).view(outputs, inputs, kernel, kernel), requires_grad=False)
        bias = weights.floats(outputs) if layer.number(5, 0) else torch.zeros(outputs)
        self.bias = nn.Parameter(bias, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        x = F.conv2d(x, self.weight, self.bias, padding=self.padding)
        return x if self.slope == 1.0 else F.leaky_relu(x, self.slope, inplace=True)


class _PReLU(nn.Module):
    def __init__(self, layer: Layer, weights: _Weights) -> None:
        super().__init__()
        self.slopes = nn.Parameter(weights.floats(int(layer.number(0, 0))), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.prelu(x, self.slopes)


def _refuse(layer: Layer, unsupported: bool) -> None:
    if unsupported:
        raise BadInput(
            f"ncnn layer {layer.name} ({layer.kind}) uses settings this reader does not know: {layer.parameters}"
        )


def _concat(layer: Layer) -> Callable[..., Tensor]:
    _refuse(layer, layer.number(0, 0) != 0)
    return lambda *xs: torch.cat(xs, dim=1)


def _weighted_sum(layer: Layer) -> Callable[..., Tensor]:
    _refuse(layer, layer.number(0, 0) != 1)
    factors = layer.parameters.get(1, (1.0,) * len(layer.inputs))
    return lambda *xs: torch.stack([factor * x for factor, x in zip(factors, xs, strict=True)]).sum(dim=0)


def _add(layer: Layer) -> Callable[..., Tensor]:
    _refuse(layer, layer.number(0, 0) != 0 or len(layer.inputs) != 2)
    return torch.add


def _nearest(layer: Layer) -> Callable[..., Tensor]:
    _refuse(layer, layer.number(0, 0) != 1)
    factors = (layer.number(1, 1), layer.number(2, 1))
    return lambda x: F.interpolate(x, scale_factor=factors, mode="nearest")


def _pixel_shuffle(layer: Layer) -> Callable[..., Tensor]:
    _refuse(layer, layer.number(1, 0) != 0)
    factor = int(layer.number(0, 1))
    return lambda x: F.pixel_shuffle(x, factor)


_WEIGHTLESS: dict[str, Callable[[Layer], Callable[..., Tensor]]] = {
    "Concat": _concat,
    "Eltwise": _weighted_sum,
    "BinaryOp": _add,
    "Interp": _nearest,
    "PixelShuffle": _pixel_shuffle,
}
_WEIGHTED: dict[str, Callable[[Layer, _Weights], nn.Module]] = {"Convolution": _Convolution, "PReLU": _PReLU}


class NcnnNetwork(nn.Module):
    """A `.param`/`.bin` network with one input and one output; weights are float32.

    Raises:
        BadInput: a layer or setting is not known, or the weights are not exactly those the layers ask for.
    """

    def __init__(self, layers: list[Layer], weights: bytes, name: str) -> None:
        super().__init__()
        reader = _Weights(weights, name)
        self._layers = layers
        self._operations: list[Callable[..., Tensor]] = []
        self._modules_in_order = nn.ModuleList()
        for layer in layers:
            if layer.kind in _WEIGHTED:
                module = _WEIGHTED[layer.kind](layer, reader)
                self._modules_in_order.append(module)
                self._operations.append(module)
            elif layer.kind in _WEIGHTLESS:
                self._operations.append(_WEIGHTLESS[layer.kind](layer))
            elif layer.kind in ("Input", "Split"):
                self._operations.append(lambda x: x)
            else:
                raise BadInput(f"{name}: ncnn layer type {layer.kind} ({layer.name}) is not known to this reader")
        reader.finish()
        # A blob is dropped after its last use: hundreds of feature maps of a deep network would not fit otherwise.
        self._last_use = {blob: number for number, layer in enumerate(layers) for blob in layer.inputs}

    @property
    def layers(self) -> list[Layer]:
        """The lines of the `.param` file, in order."""
        return self._layers

    def last_use(self, blob: str) -> int:
        """Number of the last layer that reads `blob`; -1 where none does."""
        return self._last_use.get(blob, -1)

    @torch.no_grad()
    def forward(self, image: Tensor) -> Tensor:
        """`[B, C, h, w]` to `[B, C', H, W]`."""
        return self.run({}, image, 0, len(self._layers))

    @torch.no_grad()
    def run(self, blobs: dict[str, Tensor], image: Tensor, start: int, stop: int) -> Tensor:
        """What layer `stop - 1` gives, from the layers `start` to `stop - 1`.

        Args:
            blobs: what later layers read of earlier ones, by name; in the end what layers from `stop` on read.
            image: for the input layer.
        """
        result = image
        for number in range(start, stop):
            layer, operation = self._layers[number], self._operations[number]
            result = operation(*(blobs[name] for name in layer.inputs)) if layer.inputs else image
            for name in layer.inputs:
                if self._last_use[name] == number:
                    del blobs[name]
            blobs.update(dict.fromkeys(layer.outputs, result))
        return result
