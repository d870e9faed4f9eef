from pathlib import Path

import pytest
import yaml

from benchmarks.arena import recipe
from benchmarks.arena.study import Study
from components.errors import BadInput
from tests.made import REPOSITORY

COMMITTED = REPOSITORY / "benchmarks/arena.yaml"
RECIPE = recipe.read(COMMITTED, {})


def test_merged_replaces_leaves_and_keeps_their_neighbours() -> None:
    base = {"pair": {"top": 2, "seed": 0}, "sources": ["a"]}
    assert recipe.merged(base, {"pair": {"top": 4}, "sources": ["b", "c"]}) == {
        "pair": {"top": 4, "seed": 0},
        "sources": ["b", "c"],
    }
    assert base["pair"] == {"top": 2, "seed": 0}


@pytest.mark.parametrize("name", RECIPE.compositions)
def test_every_composition_of_the_recipe_is_allowed_by_the_settings(name: str, tmp_path: Path) -> None:
    study = Study.load(REPOSITORY, RECIPE, tmp_path)
    settings = study.settings(RECIPE.compositions[name].settings)
    assert (settings == study.settings({})) == (name == "dp2o")


def test_the_recipe_has_the_controls_five_seeds_and_the_same_tries_for_all() -> None:
    builders = [one.settings.get("pair", {}).get("builder") for one in RECIPE.compositions.values()]
    assert {"random", "winners_only", "best_vs_worst"} <= set(builders)
    assert len(RECIPE.seeds) >= 5
    assert len(RECIPE.search.factors) >= 3
    assert RECIPE.search.seed not in RECIPE.seeds


def test_compositions_are_chosen_by_name_and_by_table_and_the_standard_stays() -> None:
    assert set(RECIPE.chosen(["ipo"], None).compositions) == {"dp2o", "ipo"}
    assert set(RECIPE.chosen(["ipo"], ["controls"]).compositions) == {"dp2o", "ipo", "random pairs", "winners only"}
    assert RECIPE.chosen(None, None) is RECIPE
    with pytest.raises(BadInput, match="no compositions kto; there are random pairs"):
        RECIPE.chosen(["kto"], None)
    with pytest.raises(BadInput, match="no tables x"):
        RECIPE.chosen(None, ["x"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"compositions": {"dp2o": {"settings": {"score": {"fr": []}}}}}, "a composition may change pair and train"),
        ({"compositions": {"base": {"table": "t", "about": "a"}}}, "base is the untrained model"),
        ({"standard": "kto"}, "standard 'kto' is none of"),
        ({"seeds": [0, 0]}, "each seed once"),
        ({"seeds": [100]}, "each seed once"),
        ({"passes": 0}, "passes: "),
        ({"passses": 3}, "passses: "),
    ],
)
def test_a_recipe_that_cannot_be_is_refused_by_name(change: recipe.Tree, message: str) -> None:
    with pytest.raises(BadInput, match=message) as refused:
        recipe.read(COMMITTED, change)
    assert str(COMMITTED) in str(refused.value)


def test_a_composition_whose_settings_do_not_fit_is_named(tmp_path: Path) -> None:
    change = {"compositions": {"ipo": {"settings": {"train": {"objective": "ip"}}}}}
    study = Study.load(REPOSITORY, recipe.read(COMMITTED, change), tmp_path)
    with pytest.raises(BadInput, match=r"composition 'ipo': train.objective: .*no objective 'ip'"):
        study.settings(study.recipe.compositions["ipo"].settings, "composition 'ipo'")


def test_settings_of_the_command_line_are_yaml() -> None:
    assert recipe.assignments(["pair.top=1", "evaluate.peers=[]", "train.beta=3e2", "pair.seed=4"]) == {
        "pair": {"top": 1, "seed": 4},
        "evaluate": {"peers": []},
        "train": {"beta": yaml.safe_load("3e2")},
    }
    for wrong in ("top", "pair.top", "top=1", "pair.=1"):
        with pytest.raises(BadInput, match=r"block\.key=value"):
            recipe.assignments([wrong])
    with pytest.raises(BadInput, match=r"'\[' is no YAML value"):
        recipe.assignments(["pair.top=["])


def test_files_that_are_no_recipe_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read as YAML"):
        recipe.read(tmp_path / "none.yaml", {})
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(BadInput, match="no mapping"):
        recipe.read(tmp_path / "list.yaml", {})


def test_names_of_models_are_located_and_those_of_the_hub_stay(tmp_path: Path) -> None:
    values = yaml.safe_load((REPOSITORY / "presets/c-flux.yaml").read_text())
    del values["run"]["cache"]
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    study = Study.load(tmp_path, RECIPE.model_copy(update={"settings": {}}), tmp_path / "out")
    settings = study.settings({})
    assert settings.backbone.path == tmp_path / "models/base/c-flux"
    assert settings.backbone.base_model == Path("hf://black-forest-labs/FLUX.1-dev@main")
    assert settings.prepare.prompt.model == Path("hf://Salesforce/blip-image-captioning-base@main")
    assert settings.run.cache == tmp_path / "cache"
    values = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    values["backbone"]["restorer"] = "mine.param"
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    study = Study.load(tmp_path, RECIPE, tmp_path / "out")
    assert study.values["backbone"]["restorer"] == str(tmp_path / "mine.param")
