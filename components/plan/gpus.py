"""Memory and peak arithmetic of the GPU kinds that a run may be planned for, from their makers' data sheets."""

import os
from dataclasses import dataclass
from typing import Literal

import psutil

from components.errors import BadInput

Precision = Literal["float32", "bfloat16", "float16"]

CPU_CORE_TFLOPS = 0.067
"""What one AVX2 core keeps up in a UNet's float32 forward pass, as measured; see docs/speed.md."""


@dataclass(frozen=True)
class Gpu:
    """One device.

    Attributes:
        memory: as its driver reports it, bytes.
        tflops: peak rate without sparsity, by precision; a precision that the device lacks has no entry. float32 is
            without TF32, which torch leaves off for matrix products.
        sustained: the rates are measured ones rather than peaks, so no utilisation applies.
    """

    name: str
    memory: int
    tflops: dict[Precision, float]
    sustained: bool = False

    def rate(self, precision: Precision) -> float:
        """Peak FLOP/s.

        Raises:
            BadInput: the device does not compute in this precision.
        """
        if precision not in self.tflops:
            raise BadInput(
                f"--gpu {self.name} has no {precision}, which backbone.dtype or train.precision ask for: "
                f"set them to one of {', '.join(self.tflops)}, or name another GPU"
            )
        return self.tflops[precision] * 1e12


def _gpu(name: str, memory_mib: int, half: float, single: float) -> Gpu:
    return Gpu(name, memory_mib * 2**20, {"float32": single, "bfloat16": half, "float16": half})


GPUS = {
    gpu.name: gpu
    for gpu in (
        _gpu("A800", 81920, 312.0, 19.5),
        _gpu("A100-80", 81920, 312.0, 19.5),
        _gpu("A100-40", 40960, 312.0, 19.5),
        _gpu("H100", 81559, 989.4, 66.9),
        _gpu("H200", 143771, 989.4, 66.9),
        _gpu("L40S", 46068, 362.1, 91.6),
        _gpu("L4", 23034, 121.0, 30.3),
        _gpu("A10G", 23028, 70.0, 35.0),
        _gpu("4090", 24564, 165.2, 82.6),
        _gpu("3090", 24576, 71.0, 35.6),
        Gpu("V100-32", 32768 * 2**20, {"float32": 15.7, "float16": 125.0}),
    )
}
"""By name. H100 and H200 are the SXM boards; 4090 and 3090 accumulate in float32."""

NAMES = (*GPUS, "cpu")


def named(name: str) -> Gpu:
    """The device of that name, whatever its case; `cpu` is this machine.

    Raises:
        BadInput: there is none; the known ones are listed.
    """
    if name.lower() == "cpu":
        rate = CPU_CORE_TFLOPS * (os.cpu_count() or 1)
        memory = int(psutil.virtual_memory().total)
        return Gpu("cpu", memory, {"float32": rate, "bfloat16": rate}, sustained=True)
    for known, gpu in GPUS.items():
        if known.lower() == name.lower():
            return gpu
    raise BadInput(f"--gpu {name}: there is none of that name; known are {', '.join(NAMES)}")
