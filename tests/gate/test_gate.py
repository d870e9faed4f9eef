"""The gate's rows on made measurements, whose figures follow by hand."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from components.artifacts.gate_report import Check, passed
from components.gate.gate import Benchmark, BenchmarkImage, Evidence, Key, judge
from components.settings.gate import GateSettings

SEEDS = 2
IMAGES = {f"lr{number:02d}": BenchmarkImage(f"photo{number // 2}", has_hr=True) for number in range(24)}
METRICS = {"gmsd": "g", "rank_nss": "r", "psnr": "p", "ssim": "s", "lr_consistency": "l"}
BENCHMARK = Benchmark("set", IMAGES, SEEDS, METRICS, ["rank_nss", "psnr", "ssim"])
LIMITS = GateSettings(bootstrap=200)

ROW = {
    "reward": 0.5,
    "gmsd": 0.1,
    "rank_nss": 4.0,
    "psnr": 24.0,
    "ssim": 0.6,
    "lr_consistency": 30.0,
    "colour_shift": 0.4,
    "grid": 7.0,
    "border": 0.5,
    "clipping": 0.3,
}


def evidence(**shifts: float | Callable[[int], float]) -> Evidence:
    """ROW on every image; `rank_nss` alternates by 1 around it, so that its standard deviation is 1; plus `shifts`."""
    rows: dict[Key, dict[str, float]] = {}
    for number, key in enumerate(BENCHMARK.keys):
        row = dict(ROW)
        row["rank_nss"] += 1.0 if number % 2 else -1.0
        for name, shift in shifts.items():
            row[name] += shift(number) if callable(shift) else shift
        rows[key] = row
    return Evidence("set", METRICS, rows, dict.fromkeys(IMAGES, 4.0), 1.0, 500.0)


def refusals(challenger: Evidence, champion: Evidence | None = None, limits: GateSettings = LIMITS) -> dict[str, Check]:
    checks = judge(champion or evidence(), challenger, BENCHMARK, limits)
    return {check.name: check for check in checks if check.verdict == "no"}


BETTER = evidence(reward=0.02)


def test_an_honestly_better_model_passes_every_row() -> None:
    checks = judge(evidence(), BETTER, BENCHMARK, LIMITS)
    assert [check.reason for check in checks if check.verdict == "no"] == []
    assert passed(checks)
    found = {check.name: check for check in checks}
    assert found["reward gain"].value == pytest.approx(0.02)
    assert found["win rate"].value == 1.0
    assert len(found) == len(checks) == 4 + 3 + 2 + 2 + 1 + 2 * 3 + 2 * 4 + 2 + 3


def test_a_tie_is_not_a_win() -> None:
    refused = refusals(evidence())
    assert set(refused) == {"reward gain", "win rate"}
    assert refused["win rate"].value == 0.5
    assert "a tie is not a win" in refused["reward gain"].reason


def test_a_gain_within_the_noise_is_refused() -> None:
    # 12 photos, of which 7 gain what 5 lose: the interval holds zero.
    refused = refusals(evidence(reward=lambda number: 0.02 if number // 4 < 7 else -0.02))
    assert set(refused) == {"reward gain", "win rate"}


@pytest.mark.parametrize(
    ("shifts", "row"),
    [
        ({"rank_nss": -0.11}, "held out rank_nss"),  # 0.1 standard deviations of 1
        ({"psnr": -1.01}, "fidelity psnr drop"),
        ({"ssim": -0.031}, "fidelity ssim drop"),
        ({"lr_consistency": -1.01}, "fidelity lr_consistency drop"),
        ({"colour_shift": 0.51}, "guard colour_shift rise"),
        ({"grid": 1.01}, "guard grid rise"),
        ({"border": 0.51}, "guard border rise"),
        ({"clipping": 0.51}, "guard clipping rise"),
    ],
)
def test_what_gets_worse_beyond_its_margin_is_refused_by_its_row(shifts: dict[str, float], row: str) -> None:
    assert set(refusals(evidence(reward=0.02, **shifts))) == {row}
    within = {name: shift * 0.97 if abs(shift) > 0.5 else shift * 0.9 for name, shift in shifts.items()}
    assert refusals(evidence(reward=0.02, **within)) == {}


def test_a_set_without_held_out_metrics_is_refused() -> None:
    checks = judge(evidence(), BETTER, replace(BENCHMARK, held_out=[]), LIMITS)
    assert [check.name for check in checks if check.verdict == "no"] == ["held-out metrics"]


def test_direction_of_a_held_out_metric_counts() -> None:
    limits = LIMITS.model_copy(update={"margins": {"gmsd": 0.01}})
    benchmark = replace(BENCHMARK, held_out=["gmsd"])
    verdicts = {}
    for shift in (0.02, -0.02):  # gmsd is better when lower
        checks = judge(evidence(), evidence(reward=0.02, gmsd=shift), benchmark, limits)
        verdicts[shift] = {check.name: check.verdict for check in checks}["held out gmsd"]
    assert verdicts == {0.02: "no", -0.02: "yes"}


def test_bounds_hold_even_where_the_champion_is_as_bad() -> None:
    # 1 of 12 restorations above the bound is more than one in twenty.
    spoilt = {"grid": lambda number: 20.0 if number % 12 == 0 else 0.0, "reward": 0.02}
    champion = evidence(grid=spoilt["grid"])
    assert set(refusals(evidence(**spoilt), champion)) == {"guard grid"}
    low = evidence(psnr=-10.0)
    assert set(refusals(evidence(psnr=-10.0, reward=0.02), low)) == {"fidelity psnr"}


def test_diversity_may_shrink_but_not_collapse() -> None:
    halved = replace(BETTER, diversity=dict.fromkeys(IMAGES, 2.0))
    assert refusals(halved) == {}
    collapsed = replace(BETTER, diversity=dict.fromkeys(IMAGES, 0.9))
    refused = refusals(collapsed)
    assert set(refused) == {"diversity of the champion's"}
    assert refused["diversity of the champion's"].value == pytest.approx(0.225)
    both = replace(evidence(), diversity=dict.fromkeys(IMAGES, 0.05))
    assert set(refusals(replace(BETTER, diversity=both.diversity), both)) == {"diversity"}


@pytest.mark.parametrize(
    ("change", "row"),
    [
        ({"seconds": 1.6}, "latency of the champion's"),
        ({"seconds": math.nan}, "latency"),
        ({"memory_mb": 9000.0}, "memory"),
        ({"memory_mb": math.nan}, "memory"),
    ],
)
def test_budgets(change: dict[str, float], row: str) -> None:
    assert row in refusals(replace(BETTER, **change))


def test_a_missing_score_closes_every_row_that_needs_it() -> None:
    for odd in (None, math.nan, math.inf):
        rows = {key: dict(row) for key, row in BETTER.rows.items()}
        if odd is None:
            del rows["lr03", 1]["psnr"]
        else:
            rows["lr03", 1]["psnr"] = odd
        refused = refusals(replace(BETTER, rows=rows))
        assert set(refused) == {"values missing, challenger", "fidelity psnr drop", "fidelity psnr"}
        assert refused["values missing, challenger"].reason == "missing or not finite: psnr of lr03/1"
        assert refused["fidelity psnr"].value is None


def test_a_missing_restoration_or_a_foreign_one_is_refused() -> None:
    rows = {key: row for key, row in BETTER.rows.items() if key != ("lr00", 0)}
    assert {"values missing, challenger", "reward gain", "win rate"} <= set(refusals(replace(BETTER, rows=rows)))
    foreign = replace(BETTER, rows={**BETTER.rows, ("other", 0): ROW})
    assert "1 restorations are not of the set" in refusals(foreign)["values missing, challenger"].reason


def test_a_metric_needing_hr_is_not_missed_where_there_is_none() -> None:
    benchmark = replace(BENCHMARK, images={**IMAGES, "lr00": BenchmarkImage("photo0", has_hr=False)})

    def without(full: Evidence) -> Evidence:
        rows = {key: dict(row) for key, row in full.rows.items()}
        for index in range(SEEDS):
            for name in ("psnr", "ssim", "gmsd"):
                del rows["lr00", index][name]
        return replace(full, rows=rows)

    assert passed(judge(without(evidence()), without(BETTER), benchmark, LIMITS))


def test_another_set_or_another_metric_is_refused() -> None:
    assert set(refusals(replace(BETTER, benchmark="other"))) == {"benchmark set, challenger"}
    changed = refusals(replace(BETTER, metrics=METRICS | {"rank_nss": "new"}))
    assert set(changed) == {"metric digests, challenger"}
    assert changed["metric digests, challenger"].reason == "not as frozen: rank_nss"
    assert set(refusals(BETTER, replace(evidence(), benchmark="other"))) == {"benchmark set, champion"}


def test_too_few_images_or_photos_are_refused() -> None:
    limits = LIMITS.model_copy(update={"min_images": 25, "min_photos": 13})
    assert set(refusals(BETTER, limits=limits)) == {"images", "photos"}
    (only,) = judge(evidence(), BETTER, replace(BENCHMARK, images={}), LIMITS)
    assert (only.name, only.verdict) == ("images", "no")
    nothing = Evidence("set", METRICS, {}, {}, 1.0, 500.0)
    refused = refusals(nothing)
    assert "reward gain" in refused
    assert "diversity" in refused


def test_the_untrained_controls_must_be_beaten_as_well() -> None:
    """The challenger gains .02; a champion whose residual is exaggerated gains .01, then .03, then was not measured."""
    limits = LIMITS.model_copy(update={"controls": {"gain": 1.25}})
    before = evidence()

    def exaggerated(gain: float) -> dict[str, dict[Key, float]]:
        return {"gain": {key: row["reward"] + gain for key, row in before.rows.items()}}

    def verdict(controls: dict[str, dict[Key, float]] | None) -> Check:
        checks = judge(before, BETTER, BENCHMARK, limits, controls)
        return next(check for check in checks if check.name == "reward over the champion with gain x 1.25")

    beaten = verdict(exaggerated(0.01))
    assert (beaten.verdict, beaten.value) == ("yes", pytest.approx(0.01))
    assert verdict(exaggerated(0.03)).verdict == "no"
    assert verdict(exaggerated(0.02)).verdict == "no"  # a tie
    assert verdict(None).verdict == "no"
    assert verdict({"gain": {}}).verdict == "no"


def test_a_metric_that_is_undefined_for_some_images_judges_the_others_alone() -> None:
    benchmark = replace(BENCHMARK, metrics=METRICS | {"text_error": "t"}, held_out=["rank_nss", "text_error"])

    def with_text(value: float, images: int) -> Evidence:
        known = set(sorted(IMAGES)[:images])
        rows = {key: row | {"text_error": value if key[0] in known else math.nan} for key, row in BETTER.rows.items()}
        return replace(BETTER, metrics=benchmark.metrics, rows=rows)

    def row_of(champion: Evidence, challenger: Evidence) -> Check:
        checks = {check.name: check for check in judge(champion, challenger, benchmark, LIMITS)}
        assert checks["values missing, challenger"].verdict == "yes"
        return checks["held out text_error"]

    assert row_of(with_text(0.2, 6), with_text(0.2, 6)).verdict == "yes"
    assert row_of(with_text(0.2, 6), with_text(0.3, 6)).verdict == "no", "letters are read otherwise"
    nowhere = row_of(with_text(0.2, 0), with_text(0.2, 0))
    assert nowhere.verdict == "yes"
    assert "undefined for every image" in nowhere.reason
    assert row_of(with_text(0.2, 6), with_text(0.2, 3)).verdict == "no", "the challenger's are missing"
    assert row_of(with_text(0.2, 6), with_text(0.2, 0)).verdict == "no"
