"""From what is typed to a plan; errors before anything is measured."""

from collections.abc import Sequence
from pathlib import Path

from components.errors import BadInput
from components.pipeline import presets
from components.plan.gpus import Gpu, named
from components.plan.plan import Plan, make_plan
from components.plan.workload import LRImages
from components.settings import Settings, load_settings
from components.settings.families import family_of

DEFAULT_GPU, DEFAULT_COUNT = "A800", 8
"""The paper's."""


def plan_of(
    params: Path,
    preset: str | None = None,
    gpus: Sequence[str] = (),
    count: int | None = None,
    lr_images: int | None = None,
    mfu: float | None = None,
) -> tuple[Plan, str]:
    """The plan and its title.

    Args:
        params: settings; used where no preset is named. Their folder is where models and data are looked for.
        preset: name of a file in presets/.
        gpus: names of GPU kinds, also several in one, by commas; none: the CPU for the embedded model, else an A800.
        count: GPUs of each kind; None for 8, or one CPU.
        lr_images: of all splits; None for what there is, or the paper's number.
        mfu: fraction of the peak that all stages keep up, in (0, 1]; None for what is known or assumed.

    Raises:
        BadInput: an argument, the settings, or a network's configuration cannot be used.
    """
    if preset is not None and preset not in presets.names():
        raise BadInput(f"--preset {preset}: there is none of that name; the presets are {', '.join(presets.names())}")
    path = params if preset is None else presets.FOLDER / f"{preset}.yaml"
    settings = load_settings(path)
    kinds = _kinds(gpus, settings)
    on_cpu = kinds[0].sustained
    if mfu is not None and not 0.0 < mfu <= 1.0:
        raise BadInput(f"--mfu {mfu:g} is no fraction: give more than 0 and at most 1, such as 0.3")
    if on_cpu and count not in (None, 1):
        raise BadInput(f"--gpus {count} with --gpu cpu: the CPU is this machine's only one; leave --gpus out")
    number = (1 if on_cpu else DEFAULT_COUNT) if count is None else count
    root = params.resolve().parent
    images = LRImages.of(settings, root if preset is None else None, lr_images)
    return make_plan(settings, root, images, kinds, number, mfu), _title(settings, path, preset)


def _kinds(gpus: Sequence[str], settings: Settings) -> list[Gpu]:
    names = [name.strip() for joined in gpus for name in joined.split(",") if name.strip()]
    if not names:
        names = [DEFAULT_GPU if family_of(settings.backbone.family).limits.needs_gpu else "cpu"]
    kinds = [named(name) for name in dict.fromkeys(names)]
    if len({kind.sustained for kind in kinds}) > 1:
        raise BadInput("--gpu names the CPU and GPUs at once, which sample in batches of other sizes: plan them apart")
    return kinds


def _title(settings: Settings, path: Path, preset: str | None) -> str:
    if preset is not None:
        return f"What {presets.title(preset)} costs (preset {preset})"
    return f"What {path} costs ({settings.backbone.family})"
