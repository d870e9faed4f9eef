import pytest
from pyiqa.default_model_configs import DEFAULT_CONFIGS

from components.errors import BadInput
from components.metrics.table import PRESETS, TABLE, Kind, Preset, info, of_kind


@pytest.mark.parametrize("name", [name for name, row in TABLE.items() if row.pyiqa_name])
def test_direction_and_kind_are_those_of_pyiqa(name: str) -> None:
    row, theirs = TABLE[name], DEFAULT_CONFIGS[TABLE[name].pyiqa_name]
    assert row.higher_is_better is not theirs.get("lower_better", False)
    assert row.kind == theirs["metric_mode"]


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_presets_name_metrics_of_the_right_kind_once(preset: Preset) -> None:
    assert of_kind(preset.fr, Kind.FR) == list(preset.fr)
    assert of_kind(preset.nr, Kind.NR) == list(preset.nr)
    names = [*preset.fr, *preset.nr, *preset.held_out]
    assert len(set(names)) == len(names)
    assert set(names) <= set(TABLE)


def test_the_paper_has_its_nine() -> None:
    assert len(PRESETS["paper"].fr) + len(PRESETS["paper"].nr) == 9


def test_unknown_metric_lists_the_known_ones() -> None:
    with pytest.raises(BadInput, match=r"no metric 'lpips'; the metrics are: .*stlpips-vgg"):
        info("lpips")
