"""Hours, memory and bytes worked out by hand from round figures."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from components.backbones import tiny_flow
from components.errors import BadInput
from components.plan import estimate, gpus, table
from components.plan.estimate import GIB, Utilisation
from components.plan.figures import Figures, Part, Work
from components.plan.gpus import Gpu
from components.plan.plan import measure
from components.plan.published import seconds_a_candidate, utilisation
from components.plan.workload import LRImages, Workload, sampling_block, shape_of
from components.settings import MixtureSettings, Settings, load_settings
from components.settings.families import FAMILIES
from tests.made import REPOSITORY, write_dataset, write_params

TERA = 10**12

FIGURES = Figures(
    parts=(Part("backbone", 10 * GIB, 0, "bfloat16"), Part("branch", GIB, GIB, "float32")),
    origin=(),
    candidate=(Work("network", TERA, 9), Work("decode", TERA)),
    condition=(Work("text", 5 * TERA),),
    row=(Work("forward", TERA), Work("backward", 2 * TERA)),
    recomputed=(Work("again", TERA),),
    sampling_bytes=2 * GIB,
    training_bytes={False: 40 * GIB, True: 10 * GIB},
    latent_numbers=1000,
)
GPU = Gpu("made", 80 * GIB, {"float32": 10.0, "bfloat16": 100.0, "float16": 100.0})
USED = Utilisation(0.1, 0.5, "made")


def preset(name: str) -> Settings:
    return load_settings(REPOSITORY / f"presets/{name}.yaml")


def workload(settings: Settings, lr_images: LRImages | None = None) -> Workload:
    images = LRImages(1000, 10, "made") if lr_images is None else lr_images
    return Workload.of(settings, images, sampling_block(settings, on_cpu=False))


def test_hours_of_c_sd2() -> None:
    settings = preset("c-sd2")
    generate, train, validation, evaluate = estimate.hours(settings, FIGURES, workload(settings), GPU, 4, USED)
    # 32,000 candidates of 10 TFLOP and 1000 conditions of 5, at 10 TFLOP/s on each of 4
    assert generate.flop == (32_000 * 10 + 1000 * 5) * TERA
    assert generate.seconds == pytest.approx(325_000 / 40)
    assert generate.gpu_hours == pytest.approx(325_000 / 10 / 3600)
    # 8 pairs of each of 128 groups; 3 TFLOP and 1 recomputed, at 50 TFLOP/s
    assert train.flop == 1000 * 2048 * 4 * TERA
    assert train.seconds == pytest.approx(1000 * 2048 * 4 / 200)
    # twice at the start and every 50 steps, 32 images with 2 noises, dealt to the four
    assert validation.flop == 22 * 64 * 10 * TERA
    assert validation.gpu_hours == pytest.approx(4 * validation.seconds / 3600) == 22 * 64 / 3600
    # two models, 10 test images, 64 candidates
    assert evaluate.flop == 2 * 10 * 64 * 10 * TERA


def test_rounds_make_candidates_and_steps_again() -> None:
    one = preset("c-sd2")
    three = one.model_copy(update={"train": one.train.model_copy(update={"rounds": 3})})
    before, after = (estimate.hours(settings, FIGURES, workload(settings), GPU, 4, USED) for settings in (one, three))
    assert [stage.flop for stage in after[:3]] == [3 * stage.flop for stage in before[:3]]
    assert after[3] == before[3]
    assert after[0].work == "96,000 candidates of 1,000 LR images, in 3 rounds"
    assert after[1].work == "3 x 1,000 steps of 2,048 rows"
    stored = [estimate.storage(settings, FIGURES, workload(settings)) for settings in (one, three)]
    assert stored[1].total == 3 * stored[0].total
    assert stored[1].suggested == stored[0].suggested
    assert "counted 3 times" in table.of_the_method(three)[0]


def test_a_step_of_a_mixture_predicts_twice() -> None:
    settings = preset("c-sd2")
    mixtures = [MixtureSettings(strength=0.0), MixtureSettings(strength=0.5), MixtureSettings(power=1.0)]
    mixtures.append(MixtureSettings(start=0.5))
    mixing = settings.model_copy(update={"evaluate": settings.evaluate.model_copy(update={"mixtures": mixtures})})
    network, decode = FIGURES.candidate
    figures = replace(FIGURES, candidate=(replace(network, predicts=True), decode))
    evaluate = estimate.hours(mixing, figures, workload(mixing), GPU, 4, USED)[3]
    # base, aligned and three mixtures of 640 candidates; one predicts twice in all of 50 steps, one in 49
    assert evaluate.flop == pytest.approx((5 * 10 + (50 + 49) / 50 * 9) * 640 * TERA)
    assert evaluate.work == "3,200 candidates of 10 LR images, 3 mixtures among them"


def test_a_safeguard_makes_twice_what_both_branches_share() -> None:
    settings = preset("c-sd2")
    guarded = settings.model_copy(update={"train": settings.train.model_copy(update={"safeguard": 0.9})})
    shared = replace(FIGURES, shared=(Work("shared", 2 * TERA),))
    flop = [estimate.hours(one, shared, workload(one), GPU, 4, USED)[1].flop for one in (settings, guarded)]
    assert flop[1] - flop[0] == 1000 * 2048 * 2 * TERA


def test_fewer_validation_images_than_gpus_leave_some_idle() -> None:
    settings = preset("c-sd2")
    settings = settings.model_copy(update={"train": settings.train.model_copy(update={"validation_images": 2})})
    validation = estimate.hours(settings, FIGURES, workload(settings), GPU, 4, USED)[2]
    assert validation.work.endswith("dealt to 2 GPUs")
    assert validation.gpu_hours == pytest.approx(4 / 2 * 22 * 4 / 3600)


def test_text_encoders_on_the_host_take_no_memory_of_a_gpu() -> None:
    text = Part("text", 3 * GIB // 2, 0, "bfloat16", on_host=True)
    more = replace(FIGURES, parts=(*FIGURES.parts, text))
    assert estimate.memory(more, 8, checkpointed=True) == estimate.memory(FIGURES, 8, checkpointed=True)
    here = replace(FIGURES, parts=(*FIGURES.parts, replace(text, on_host=False)))
    assert estimate.memory(here, 8, True)[0].total == estimate.memory(FIGURES, 8, True)[0].total + 3 * GIB


def test_a_precision_that_the_gpu_lacks() -> None:
    settings = preset("c-sd2")
    with pytest.raises(BadInput, match=r"V100-32 has no bfloat16.*float32, float16"):
        estimate.hours(settings, FIGURES, workload(settings), gpus.named("V100-32"), 1, USED)


def test_memory_by_hand() -> None:
    generate, train, other, split = estimate.memory(FIGURES, 8, checkpointed=True)
    assert [peak.weights for peak in (generate, train, other)] == [24 * GIB] * 3
    assert generate.total == 24 * GIB + 2 * GIB + GIB + round(0.2 * GIB)
    assert (train.gradients, train.optimizer, train.buckets) == (4 * GIB, 8 * GIB, 4 * GIB)
    assert train.total == (24 + 4 + 8 + 4 + 10 + 1 + 1) * GIB
    assert (other.stage, other.activations) == ("train, checkpointing off", 40 * GIB)
    assert split.weights == 20 * GIB + 4 * GIB // 8
    assert (split.gradients, split.optimizer, split.buckets) == (GIB // 2, GIB, 0)


def test_one_gpu_has_no_buckets_and_no_fsdp() -> None:
    peaks = estimate.memory(FIGURES, 1, checkpointed=False)
    assert [(peak.stage, peak.buckets) for peak in peaks] == [
        ("generate", 0),
        ("train", 0),
        ("train, checkpointing on", 0),
    ]


@pytest.mark.parametrize(
    ("shards", "suggested"),
    # 32,000 candidates of 0.54 x 786,432 bytes and 4,000 of latents: 13.7 GB
    [(1, 14), (13, 14), (20, 20), (53, 53), (54, 14)],
)
def test_shards_of_a_handy_size(shards: int, suggested: int) -> None:
    settings = preset("c-sd2")
    settings = settings.model_copy(update={"generate": settings.generate.model_copy(update={"shards": shards})})
    storage = estimate.storage(settings, FIGURES, workload(settings))
    assert storage.png == pytest.approx(32_000 * 0.54 * 786_432)
    assert storage.latents == 32_000 * 4000
    assert storage.suggested == suggested
    assert storage.jobs == 2 * shards + 6


def test_few_candidates_are_one_small_shard(tmp_path: Path) -> None:
    settings = write_params(tmp_path)
    assert estimate.storage(settings, FIGURES, workload(settings)).suggested == 1


@pytest.mark.parametrize(
    ("changes", "rows", "pairs"),
    [
        ({}, 4, 4),
        ({"train": {"noise_shared_by": "pair"}}, 8, 4),
        ({"train": {"noise_shared_by": "pair", "pairs_per_group": 3}}, 6, 3),
        ({"train": {"noise_shared_by": "pair", "pairs_per_group": 9}}, 8, 4),
        ({"pair": {"builder": "best_vs_worst"}}, 2, 1),
        ({"pair": {"builder": "random"}}, 4, 4),
        ({"pair": {"builder": "winners_only"}, "train": {"objective": "winners_only"}}, 2, 2),
    ],
)
def test_rows_and_pairs_of_a_group(changes: dict[str, Any], rows: int, pairs: int, tmp_path: Path) -> None:
    settings = write_params(tmp_path, **changes | {"pair": {"top": 2} | changes.get("pair", {})})
    planned = workload(settings)
    assert (planned.rows, planned.pairs) == (rows, pairs)
    assert planned.step_rows == rows * settings.train.groups_per_step
    assert shape_of(settings, 4).training_rows == rows * settings.train.micro_batch


def test_batches_that_are_filled_up_with_copies_cost_more(tmp_path: Path) -> None:
    settings = write_params(tmp_path, generate={"candidates": 8, "batch": 8})
    images = LRImages(100, 10, "made")
    assert Workload.of(settings, images, 4).padding == 1
    assert Workload.of(settings, images, 16).padding == 2
    generate = estimate.hours(settings, FIGURES, Workload.of(settings, images, 16), GPU, 1, USED)[0]
    assert generate.flop == (800 * 2 * 10 + 100 * 5) * TERA
    assert "each sampled 2 times" in generate.work


def test_lr_images_are_the_datasets_or_said_to_be_the_papers(tmp_path: Path) -> None:
    settings = write_params(tmp_path)
    assert LRImages.of(settings, tmp_path, None).known_from.startswith("the paper's 30,000")
    assert LRImages.of(settings, tmp_path, None).candidates == 16_500
    write_dataset(tmp_path, ["align", "align", "validation", "test"])
    assert LRImages.of(settings, tmp_path, None) == LRImages(2, 1, "data/dataset.parquet")
    assert LRImages.of(settings, tmp_path, 200) == LRImages(110, 60, "--lr-images")
    assert LRImages.of(settings, None, None).candidates == 16_500


def test_what_the_papers_hours_imply() -> None:
    sd2, flux = FAMILIES["sd2_controlnet"].published, FAMILIES["flux_controlnet"].published
    assert sd2 is not None
    assert flux is not None
    # 168 h x 8 over 960,000 candidates; 111.3 TFLOP in 5.04 s are 22.1 of 312 TFLOP/s
    assert seconds_a_candidate(sd2) == pytest.approx(5.04)
    assert utilisation(sd2) == pytest.approx(0.0708, abs=1e-4)
    assert seconds_a_candidate(flux) == pytest.approx(6.48)
    assert utilisation(flux) == pytest.approx(0.2869, abs=1e-4)


def test_the_papers_hours_come_back() -> None:
    """The calibration is circular by design: with the paper's numbers the plan gives the paper's hours."""
    for name in ("c-sd2", "c-flux"):
        settings = preset(name)
        published = FAMILIES[settings.backbone.family].published
        assert published is not None
        tflop = Work("candidate", round(published.tflop * TERA))
        figures = Figures((), (), (tflop,), (), (Work("row", 1),), (), 0, {True: 0}, 0)
        used = Utilisation.of(settings.backbone.family, gpus.named("A800"), None)
        planned = workload(settings, LRImages(30_000, 100, "the paper"))
        generate = estimate.hours(settings, figures, planned, gpus.named("A800"), 8, used)[0]
        assert generate.seconds / 3600 == pytest.approx(published.hours)


def test_gpus_are_named_whatever_the_case_and_unknown_ones_list_the_known() -> None:
    assert gpus.named("l40s").name == "L40S"
    assert gpus.named("CPU").sustained
    with pytest.raises(BadInput, match=r"--gpu B9000: .*known are A800, A100-80, .*4090.*, cpu"):
        gpus.named("B9000")


def test_what_a_method_costs_beside_the_arithmetic_is_said(tmp_path: Path) -> None:
    assert table.of_the_method(write_params(tmp_path)) == []
    train, pair = {"noise": "own", "winner_stop": 0.05}, {"dial": [0.0, 0.5, 1.0]}
    settings = write_params(tmp_path, train=train, pair=pair)
    own, dial, stop = table.of_the_method(settings)
    assert "train.noise own" in own
    assert "3 places (pair.dial) make 3 groups" in dial
    assert "train.winner_stop" in stop
    (bird,) = table.of_the_method(write_params(tmp_path, train={"source": "bird_sr"}))
    assert "train.source bird_sr" in bird
    rewarded = workload(write_params(tmp_path, train={"source": "bird_sr", "groups_per_step": 8}))
    assert (rewarded.step_rows, rewarded.pairs) == (8, 0)
    source = {"kind": "prdp", "candidates": 4, "inner_steps": 3, "steps": 4}
    rolling = write_params(tmp_path, train={"source": source, "groups_per_step": 8, "steps": 10})
    (prdp,) = table.of_the_method(rolling)
    assert "8 groups of 4 candidates, sampled in 4 steps" in prdp
    assert "64 metric values; there is one every 3 steps" in prdp
    counted = workload(rolling)
    # 4 roll-outs; 3 of 4 steps draw; x_T, 4 states and the clean latents are kept
    assert (counted.rolled, counted.verdicts) == (4 * 32, 4 * 64)
    assert (counted.rows, counted.step_rows, counted.kept_states) == (4, 32 * 3, 32 * 6)
    # so small a part of a pass: the layers' operations against those of the smallest network, a row each
    config = tiny_flow.read_config(REPOSITORY / "components/backbones/weights/tiny_flow")
    width = 4 * config.channels[0]
    figures = measure(settings, REPOSITORY, shape_of(settings, 4))
    assert 2 * (2 * width + width**2) < 1e-3 * figures.candidate[0].flop
    stage = estimate.hours(settings, figures, workload(settings), GPU, 1, USED)[1]
    assert stage.work.startswith("at most 60 steps")
    rolls = estimate.hours(rolling, figures, counted, GPU, 1, USED)[2]
    # in 4 steps of the settings' 6, and nothing else: this family's decoder is free
    assert (rolls.name, rolls.flop) == ("train, roll-outs", 128 * 4 * figures.candidate[0].flop)
    assert figures.state_bytes == 4 * 3 * rolling.prepare.crop**2
