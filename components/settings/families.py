"""The families of backbones, one row each: where a family's code is, and what it takes of the other blocks.

Code is named here and imported when it is called: settings are read where there is no torch. A family of the user's own
is a row as well, in a file of theirs: backbone.family is then `package.module:NAME` of it.
"""

import importlib
from collections.abc import Callable, Set
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from components.errors import BadInput
from components.settings.part import MissingLibrary, load_row

if TYPE_CHECKING:
    from components.settings.backbone import FamilyBlock


@dataclass(frozen=True)
class Code:
    """A function by its name, `module:function`, imported when it is called."""

    name: str

    def __call__(self, *arguments: Any) -> Any:
        return self.function(*arguments)

    @property
    def function(self) -> Any:
        """The function itself."""
        module, _, function = self.name.partition(":")
        return attrgetter(function)(importlib.import_module(module))


Function = Code | Callable[..., Any]
"""Named, or in a file of the user's the function itself."""


@dataclass(frozen=True)
class Limits:
    """What a family takes, whatever its own block says.

    Attributes:
        controls: what evaluate.controls and gate.controls may name.
        sampler_levels: train.t_distribution may be `sampler`.
        prompts: it reads text.
        half_precision: its frozen parts may be in half precision, backbone.dtype.
        spread: its policy may be spread over several GPUs, by FSDP2.
        needs_gpu: a plan is made for GPUs where none is named.
        trained_side: output side that its base was trained at, px: larger pictures repeat what they show, so they are
            restored in tiles. None: any size.
        dial: its policy can be told a preference, pair.dial.
        rewarded: train.source may be bird_sr: it is a flow whose decoder passes gradients on.
        stochastic: its sampler draws noise in its steps, so that no single noise leads to a sample.
    """

    controls: Set[str] = frozenset()
    sampler_levels: bool = False
    prompts: bool = False
    half_precision: bool = False
    spread: bool = False
    needs_gpu: bool = False
    trained_side: int | None = None
    stochastic: bool = False
    dial: bool = False
    rewarded: bool = False


@dataclass(frozen=True)
class Published:
    """A paper's candidates of one family: what `dp2o plan` takes the use of a GPU from.

    Attributes:
        preset: the paper's name of the model.
        candidates: an LR image.
        tflop: of one candidate, in our sampler's passes, which are the paper's; tests count them anew.
        hours: of all candidates, on the paper's GPUs (components/plan/published.py).
    """

    preset: str
    candidates: int
    tflop: float
    hours: float


@dataclass(frozen=True)
class Family:
    """A row.

    Attributes:
        load: (folder, settings, device) to a `Backbone` whose policy is in the folder, whatever the settings' own
            `path` says.
        measure: (settings, root, shape) to the `Figures` of a plan; None: `components.plan.loaded` loads the model and
            counts what it does.
        levels: located settings to the sampler's noise levels, from files alone; None where train.t_distribution cannot
            be `sampler`.
        digests: located settings to `digest("reference")` and `sampler.digest` from files alone, as building a network
            takes seconds; None where a family cannot tell without.
        published: the paper's own hours; None where there are none.
        settings: class of the block `backbone`, of a family of the user's own; this project's are in
            `components.settings.backbone`.
    """

    load: Function
    measure: Function | None = None
    digests: Function | None = None
    limits: Limits = Limits()
    published: Published | None = None
    levels: Function | None = None
    settings: "type[FamilyBlock] | None" = None


_OWN = Limits(controls=frozenset({"gain", "steps"}), sampler_levels=True, dial=True, rewarded=True)
_CONTROLNET = Limits(prompts=True, half_precision=True, spread=True, needs_gpu=True, trained_side=512)

FAMILIES: dict[str, Family] = {
    "tiny_flow": Family(
        Code("components.backbones.tiny_flow:load"),
        Code("components.plan.pixel_flow:measure_tiny"),
        Code("components.backbones.tiny_flow:saved_digests"),
        _OWN,
        levels=Code("components.backbones.samplers.levels:saved_levels"),
    ),
    "restorer_flow": Family(
        Code("components.backbones.restorer_flow:load"),
        Code("components.plan.pixel_flow:measure_restorer"),
        Code("components.backbones.restorer_flow:saved_digests"),
        _OWN,
        levels=Code("components.backbones.samplers.levels:saved_levels"),
    ),
    "sd2_controlnet": Family(
        Code("components.backbones.sd2_controlnet:SD2ControlNet.load"),
        Code("components.plan.sd2:measure"),
        None,
        replace(_CONTROLNET, stochastic=True),
        Published("C-SD2", 32, 111.315, 168.0),
    ),
    "flux_controlnet": Family(
        Code("components.backbones.flux_controlnet:FluxControlNet.load"),
        Code("components.plan.flux:measure"),
        None,
        _CONTROLNET,
        Published("C-FLUX", 64, 580.068, 432.0),
    ),
    "sd3_controlnet": Family(
        Code("components.backbones.sd3_controlnet:SD3ControlNet.load"),
        Code("components.plan.sd3:measure"),
        None,
        _CONTROLNET,
    ),
}
"""By backbone.family."""


def is_own(family: Any) -> bool:
    """Whether backbone.family names a row that the user wrote."""
    return isinstance(family, str) and ":" in family


def family_of(name: str) -> Family:
    """The row of backbone.family.

    Raises:
        BadInput: what the user brought cannot be used.
    """
    if not is_own(name):
        return FAMILIES[name]
    try:
        row = load_row(name)
    except (ValueError, MissingLibrary) as error:
        raise BadInput(f"backbone.family {name}: {error}") from error
    if not isinstance(row, Family):
        raise BadInput(f"backbone.family {name} is {type(row).__name__}, and must be a Family(load, settings=...)")
    return row
