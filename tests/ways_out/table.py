"""Which test takes the way out that a message names, by the kind of the way.

A message belongs to the first kind whose pattern is in it. The way is taken on an example of the kind, not for each
message. `said` are ways that no test can take: somebody must find out, bring or decide something, elsewhere.
"""

from typing import NamedTuple

DO_STAGES = "tests/ways_out/test_stages.py::test_who_does_what_a_stage_says_gets_on"
UNPARTED = "tests/ways_out/test_stages.py::test_a_stage_that_has_no_parts_runs_without_them"
RESTORED = "tests/ways_out/test_stages.py::test_a_damaged_file_of_the_pipeline_is_restored_with_git"
TYPED = "tests/ways_out/test_commands.py::test_who_types_what_a_command_says_gets_on"
WITH_ROOM = "tests/ways_out/test_full_disk.py::test_a_stage_tells_it_and_ends_with_the_same_bytes"
WITH_RIGHTS = "tests/ways_out/test_full_disk.py::test_a_disk_that_takes_no_writes_is_told"
SETTINGS = "tests/test_agreement.py::test_who_takes_the_way_out_gets_on"
PARTS = "tests/task/test_run.py::test_parts_and_their_gathering_give_the_bytes_of_one_run"
ANCHORED = (
    "tests/promote/test_history_attacks.py::test_an_anchor_that_is_gone_is_an_error_until_a_person_says_otherwise"
)
SIGNED = "tests/promote/test_approval.py::test_a_person_may_say_no_and_later_yes"
DATABASE = "tests/registry/test_local.py::test_a_damaged_database_is_told_with_the_way_out"
INSTALLED = "tests/metrics/test_weights.py::test_install_places_once_and_repairs"
ZIP = "tests/test_new_project.py::test_a_zip_without_git_says_what_to_do"
LEASE = "tests/flows/test_lease.py::test_a_damaged_lease_says_the_way_out"
TRAINED_AGAIN = "tests/train/test_stage.py::test_a_stopped_and_then_killed_run_continues_to_the_same_bytes"
MANIFEST = "tests/prompts/test_manifest.py::test_a_table_that_does_not_fit_is_named"
KEY = "tests/flows/test_run_key.py::test_what_is_no_key_is_not_used"
STUDY = "tests/study/test_ways_out.py::test_who_does_what_a_study_says_gets_on"
STUDY_TABLE = "tests/study/test_ways_out.py::test_who_mends_a_table_gets_on"
OTHER_VOTES = "tests/study/test_making.py::test_votes_become_pairs_and_a_trained_model"
TEST_SET = "tests/benchmark/test_command.py::test_a_set_is_held_to_its_digest_list"
ANOTHER_PLACE = "tests/storage/test_publish.py::test_a_file_where_a_folder_should_be_is_named"
MODELS = "components/backbones/"


class Kind(NamedTuple):
    """A kind of way out.

    Attributes:
        pattern: words of its messages.
        taken_by: the test that takes it on an example.
        said: why no test can, where none does.
        within: beginning of the files that it is about.
    """

    pattern: str
    taken_by: str = ""
    said: str = ""
    within: str = ""


KINDS = [
    Kind(r"[Ff]ind out who|who else may write|who writes", said="whoever wrote that must be found"),
    Kind(r"registry's database from its backup", said="the backup is the operator's"),
    Kind(r"", said="a model, a permission or a cluster must be brought from elsewhere", within="flows/launchers/"),
    Kind(r"copy the project to where", WITH_RIGHTS),
    Kind(r"", TEST_SET, within="components/benchmark/"),
    Kind(r"make a new study of these", OTHER_VOTES),
    Kind(r"", STUDY_TABLE, within="components/study/table"),
    Kind(r"", STUDY, within="components/study/"),
    Kind(r"use its folder with this project", said="another form of the model is none: its own folder is used on"),
    # --- stages, their parts and files
    Kind(r"leave --shard out|run it without --shard|cannot be sharded", UNPARTED),
    Kind(r"--publish|--gather|publish (it|one)|generate\.shards", PARTS),
    Kind(r"restore it with (`?git)|git restore", RESTORED),
    Kind(r"is no git repository|`git init", ZIP),
    Kind(r"`dp2o gc|set run\.cache elsewhere", WITH_ROOM),
    Kind(r"metrics\.weights|put it there|`dp2o metrics`|install its package", INSTALLED),
    Kind(
        r"remove it,? and run|run (the|its|that|all|train|evaluate|generate|score|prepare|\{…\})\b|[Rr]un \w+ again"
        r"|[Rr]un \{…\} (first|again)|its stage must run again|dvc repro|`dp2o run` makes",
        DO_STAGES,
    ),
    Kind(
        r"prepare\.\{…\}|cannot fill the splits|add photos|prepare\.(sources|crop|split|prompt|pairs)"
        r"|is not a folder; name",
        DO_STAGES,
    ),
    Kind(r"is a file and no folder", ANOTHER_PLACE),
    # --- the command again, another option, another name
    Kind(r"run (it|the same|the same command) again|run the same|delete or rename|run from|[Rr]un again", WITH_ROOM),
    Kind(r"run\.workers|train\.(learning_rate|beta)", TRAINED_AGAIN),
    Kind(
        r"--\w+|there is no preset|there is none of that name|`dp2o run train`|use one of|is a folder: name"
        r"|restore it in tiles|(is|are) there already"
        r"|name \{…\}|name files or folders|contradict each other|number above 0|ask for less",
        TYPED,
    ),
    # --- the registry, and who may promote
    Kind(r"move it away and run `dp2o register`|name another file in register", DATABASE),
    Kind(r"dp2o history|gate\.anchor|the anchor", ANCHORED),
    Kind(r"dp2o models|dp2o keys new|gate\.sign|`dp2o promote`|name another file|promote (it )?again", SIGNED),
    Kind(r"register (it|the model) again|`dp2o register`|roll back", DO_STAGES),
    Kind(r"the lease|delete the object", LEASE),
    # --- settings that a stage finds wrong: the same words as when they are read
    Kind(
        r"(?:score|evaluate|gate|train|run|register|intake|drift|monitor|backbone|pair)\.\w+|set it to|URI|one metric"
        r"|named more than once|listed more than once|launch with|s3://|take another model|number of nodes",
        SETTINGS,
    ),
    Kind(r"^metric |stand-in for FR metrics|see the failures above", SETTINGS),
    Kind(r"no model version; write", TYPED),
    # --- what lies elsewhere
    Kind(
        r"\b(give|choose|bring|restore|name|take|change|set|write)\b",
        said="another model must be brought",
        within=MODELS,
    ),
    Kind(
        r"AWS_|MLFLOW|`dvc (pull|push)|KUBECONFIG|DP2O_|rights|credentials|backup",
        said="a server's or a person's to give",
    ),
    Kind(r"when it answers|use a database, or run `mlflow gc`", said="a server must answer, or its admin remove it"),
    Kind(r"benchmark set|restore the folder|its folder says", said="the frozen set is kept by its owner"),
    Kind(r"from that commit|from the run's commit", said="an image must be built"),
    Kind(r"", MANIFEST, within="components/prompts/manifest.py"),
    Kind(r"branch|replace it by what it leads to", said="a repository of others must be changed"),
    Kind(r"is no key of ours: remove it", KEY),
    Kind(r"hf://|save_pretrained|of the hub", said="a model of the hub must be brought"),
]
