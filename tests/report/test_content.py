"""What the page says, from figures made by hand."""

import math

import pytest

from components.artifacts.evaluation import Evaluation
from components.errors import BadInput
from components.report import choices
from components.report.comparison import metric_table, peer_table
from components.report.curves import (
    TRAINING_COLUMNS,
    read_csv,
    spread_chart,
    spread_csv,
    training_charts,
    validation_charts,
)
from components.report.groups import ranked, view
from components.report.mixtures import Mixtures
from components.report.page import Page, html
from components.report.verdict import judge, key_figures
from components.settings import (
    CaPOObjective,
    DP2OObjective,
    IPOObjective,
    ObjectiveSettings,
    WinnersOnlyObjective,
)
from tests.evaluations import LR_ONLY, SAME, changed, evaluation


@pytest.mark.parametrize(
    ("found", "tone", "words"),
    [
        (changed(), "good", "stlpips-vgg got significantly better"),
        (changed(psnr="worse"), "good", "psnr, which measure distortion, fell"),
        (changed(stlpips_vgg=SAME), "good", "No held-out metric changed significantly"),
        (changed(stlpips_vgg="worse"), "mixed", "stlpips-vgg got significantly worse"),
        (changed(reward=SAME), "neutral", "Reward 0.5000 → 0.5400"),
        (changed(reward="worse"), "bad", "+0.0300 to +0.0500"),
    ],
)
def test_the_verdict_needs_the_reward_and_the_held_out_judges(found: Evaluation, tone: str, words: str) -> None:
    verdict = judge(found)
    assert verdict.tone == tone
    assert words in verdict.text


def test_the_verdict_says_what_it_is_of_where_there_are_both_kinds() -> None:
    assert "of 40 paired restorations. Held out" in judge(evaluation()).text
    assert "of 40 paired restorations of images with HR." in judge(evaluation(without_hr=LR_ONLY)).text
    assert "of 40 paired restorations of images without HR." in judge(evaluation(has_hr=False)).text


def test_a_metric_in_the_reward_is_no_judge() -> None:
    assert judge(changed(stlpips="worse")).tone == "good"


def test_key_figures() -> None:
    reward, won, worst, held_out = key_figures(evaluation())
    assert (reward.value, won.value, worst.value, held_out.value) == ("+0.0400", "65%", "+0.0800", "1 ↑ 0 ↓")
    assert (worst.label, won.tone, held_out.tone) == ("Worst of 2", "good", "good")
    assert key_figures(changed(psnr="worse"))[3].tone == "mixed"
    assert key_figures(changed(stlpips_vgg="worse"))[3].tone == "bad"


def test_the_page_has_a_table_a_kind_of_images() -> None:
    both = evaluation(without_hr=LR_ONLY)
    headings, peers = peer_table(both)
    page = Page(
        verdict=judge(both),
        findings=[],
        figures=key_figures(both),
        evaluation=both,
        metrics={kind: metric_table(compared) for kind, compared in both.kinds.items()},
        peer_headings=headings,
        peers=peers,
        controls=[],
        mixtures=Mixtures.of(both),
        anatomy=[],
        spread=spread_chart(both),
        validation=[],
        training=[],
        sliders=[],
        versions=[],
        closeups=[],
        closeup_rule="",
        deviation_note="",
        groups=[],
        builder="dp2o",
        pair_count=1,
        splits=[],
        candidate_count=1,
        quarantine=[],
        lineage=[],
        settings="",
    )
    text = html(page)
    assert "10 test images with HR of 5 photos, 3 test images without HR of 2 photos" in text
    with_hr, without_hr = text.split("<h3>3 test images without HR</h3>")
    assert "<h3>10 test images with HR</h3>" in with_hr
    assert "lr_consistency" not in with_hr
    assert "lr_consistency" in without_hr.split("</table>")[0]


def test_metric_table_leads_with_the_reward_and_turns_lower_is_better() -> None:
    table = metric_table(evaluation())
    assert [row.name for row in table.rows] == ["reward", "stlpips", "stlpips-vgg", "psnr"]
    assert [row.role for row in table.rows] == ["the reward", "in reward", "held out", "held out"]
    stlpips = table.rows[1]
    assert (stlpips.arrow, stlpips.base, stlpips.aligned, stlpips.difference) == ("↓", "0.3000", "0.2700", "−0.030")
    centre = float(str(stlpips.forest).split('cx="')[1].split('"')[0])
    assert centre > 100, "a falling lower-is-better metric lies right of zero, at 100"


def test_peer_table_marks_the_best_of_each_column() -> None:
    headings, rows = peer_table(evaluation())
    assert headings == ["reward ↑", "stlpips-vgg ↓", "stlpips ↓", "psnr ↑"]
    assert {row.name: row.best for row in rows} == {
        "base": [False, False, False, False],
        "aligned": [True, True, False, False],
        "bicubic": [False, False, True, True],
    }


def test_images_are_chosen_evenly_from_gain_to_loss() -> None:
    order = choices.by_gain({"a": 0.0, "b": 0.2, "c": -0.1, "d": 0.2, "e": 0.1})
    assert order == ["b", "d", "e", "a", "c"]
    assert choices.evenly(order, 3) == ["b", "e", "c"]
    assert choices.evenly(order, 1) == ["e"], "one alone is not the best"
    assert choices.evenly(order, 9) == order
    rows = [{"model": "base", "lr_id": "a", "reward": value} for value in (0.2, 0.4)]
    assert choices.mean_by_image(rows, "base") == {"a": pytest.approx(0.3)}


def test_a_group_stands_in_rank_order_with_its_pairs() -> None:
    # The golden case of the method: R = .694, .85, .689, 0; order 1, 0, 2, 3; N = 2.
    rewards = {0: 0.694444, 1: 0.85, 2: 0.688889, 3: 0.0}
    weights = {(1, 3): 1.422222, (1, 2): 0.733333, (0, 3): 1.266667, (0, 2): 0.577778}
    scores = [{"index": index, "reward": reward, "psnr": 20.0, "ssim": None} for index, reward in rewards.items()]
    pairs = [
        {"winner": up, "loser": down, "gap": rewards[up] - rewards[down], "w_intra": x, "w_inter": 1.0, "weight": x}
        for (up, down), x in weights.items()
    ]
    group = view(
        {"lr_id": "ab", "sigma": 0.33, "w_inter": 1.0},
        "photo.jpg",
        scores,
        pairs,
        ["psnr"],
        ["psnr", "ssim"],
        {index: f"data:{index}" for index in rewards},
        lr_picture="data:lr",
        hr_picture=None,
        weights=(0.577778, 1.422222),
    )
    assert [candidate.index for candidate in group.candidates] == [1, 0, 2, 3]
    assert [candidate.role for candidate in group.candidates] == ["winner", "winner", "loser", "loser"]
    assert group.candidates[0].scores == [("psnr", "20")]
    assert group.candidates[0].all_scores == "psnr 20, ssim –"
    assert (group.winners, group.losers) == ([1, 0], [2, 3])
    cells = [[cell.weight for cell in row if cell] for row in group.cells]
    assert cells == [["0.73", "1.42"], ["0.58", "1.27"]]
    heaviest, lightest = group.cells[0][1], group.cells[1][0]
    assert heaviest is not None
    assert lightest is not None
    assert (heaviest.share, lightest.share) == (1.0, 0.0)


def test_equal_rewards_rank_by_index() -> None:
    rows = [{"index": index, "reward": 0.5} for index in (2, 0, 1)]
    assert [row["index"] for row in ranked(rows)] == [0, 1, 2]


def test_curves_of_a_run_without_losers_leave_their_charts_out() -> None:
    header = ",".join(TRAINING_COLUMNS)
    rows = "\n".join(f"{step},0.69,nan,nan,0.3,nan,0.3,nan,0.1,1.0,2e-5" for step in (1, 2))
    charts = training_charts(read_csv(f"{header}\n{rows}\n", "training.csv", TRAINING_COLUMNS), None)
    assert [chart.title for chart in charts] == [
        "Loss",
        "Winners' error",
        "Gradient norm",
        "Spread of the pair weights",
        "Learning rate",
    ]


@pytest.mark.parametrize(
    ("objective", "line"),
    [
        (DP2OObjective(beta=300.0), (math.log(2.0), "policy = reference")),
        (IPOObjective(beta=300.0, target=0.5), (0.25, "policy = reference")),
        (WinnersOnlyObjective(), None),
        (CaPOObjective(beta=300.0), None),
    ],
)
def test_the_loss_has_a_line_where_its_objective_starts(
    objective: ObjectiveSettings, line: tuple[float, str] | None
) -> None:
    header = ",".join(TRAINING_COLUMNS)
    table = read_csv(f"{header}\n1,0.69,0.5,0.1,0.3,0.3,0.3,0.3,0.1,1.0,2e-5\n", "training.csv", TRAINING_COLUMNS)
    loss = training_charts(table, objective.loss_at_zero)[0]
    assert loss.baseline == line
    assert ("agree" in loss.note) == (line is not None)


def test_the_best_validation_step_is_marked() -> None:
    table = read_csv("step,reward,stlpips\n0,0.5,0.3\n10,0.6,0.2\n20,0.55,0.25\n", "validation.csv", ("step", "reward"))
    reward, stlpips = validation_charts(table, {"stlpips": False})
    assert reward.mark == (10.0, "best: step 10")
    assert reward.baseline == (0.5, "base")
    assert stlpips.title == "Validation stlpips ↓"


def test_bad_csv_names_file_line_and_column() -> None:
    with pytest.raises(BadInput, match=r"x.csv line 3: loss is 'oops', not a number"):
        read_csv("step,loss\n1,0.5\n2,oops\n", "x.csv", ("step", "loss"))
    with pytest.raises(BadInput, match=r"x.csv has 0 rows and lacks the columns \['step'\]"):
        read_csv("step\n", "x.csv", ("step",))


def test_spread_csv_has_a_row_a_model_and_size() -> None:
    assert spread_csv(evaluation()).splitlines()[:3] == [
        "model,samples,best,mean,worst",
        "base,1,0.5,0.5,0.5",
        "base,2,0.6,0.5,0.4",
    ]
