"""Answers in the published forms, in our words, and answers that say nothing."""

import json
from typing import Any

import pytest

from components.score.judges import unified_reward, unified_reward_flex, visualquality_r1
from components.score.judges.questions import FIRST, OVERALL, SECOND, TIE, Question
from components.settings import UnifiedRewardFlexSettings, UnifiedRewardSettings, VisualQualityR1Settings

ONE = Question("?", ("realism",))
FLEX = UnifiedRewardFlexSettings(model="m")
(ALL,) = unified_reward_flex.questions(FLEX)


def category(name: str, winner: object, *scores: tuple[Any, Any]) -> dict[str, Any]:
    dims = [{"name": "edges", "reason_1": "…", "score_1": first, "score_2": second} for first, second in scores]
    return {"name": name, "dims": dims, "cat_reason": "…", "cat_winner": winner}


def flex(winner: object, *categories: dict[str, Any]) -> str:
    return "```json\n" + json.dumps({"prompt": "", "categories": categories, "reason": "", "winner": winner}) + "\n```"


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        ("The roof is sharper in the second. Image 2 is better.", SECOND),
        ("Image 1 is better than Image 2.", FIRST),
        ("One could say that Image 1 is better, yet its leaves are smeared. In all, Image 2 is better.", SECOND),
        ("Both images are equally good.", TIE),
        ("<think>1. Realism: Image 1 (9/10) - …; Image 2 (7/10) - …</think><answer>Image 1 is better</answer>", FIRST),
        ("<think>At first Image 1 is better.</think>\n<answer>Image 2 is better</answer>", SECOND),
        # As text 9 is above 10.
        ("Total score:\nImage 1: 4+5=9\nImage 2: 4+6=10\n", SECOND),
        ("Coherence Score:\n Image 1: 0.418\n Image 2: 0.582\n", SECOND),
        ("Image 1: 7\nImage 2: 7", TIE),
        ("I cannot compare them.", None),
        ("", None),
        ("Image 3 is better.", None),
    ],
)
def test_unified_reward(answer: str, verdict: int | None) -> None:
    assert unified_reward.read(ONE, answer) == {"realism": verdict}


def test_unified_reward_asks_for_each_and_for_all() -> None:
    settings = UnifiedRewardSettings(model="m", dimensions={"fidelity": "like the input", "realism": "like a photo"})
    asked = unified_reward.questions(settings)
    assert [question.dimensions for question in asked] == [("fidelity",), ("realism",), (OVERALL,)]
    assert len(asked) == settings.questions
    assert "like the input" in asked[0].text
    assert "like a photo" not in asked[0].text
    assert "like the input" in asked[2].text
    assert "like a photo" in asked[2].text


def test_flex_winners_by_category() -> None:
    said = flex(
        "Image 2",
        category("A. Fidelity", "Image 1", (6, 4)),
        category("Realism of detail", "Image 2", (3, 7)),
        category("Artefacts", "Image 1/2", (5, 5)),
        category("D. Composition", "Image 1", (9, 1)),
    )
    assert unified_reward_flex.read(ALL, said) == {
        "fidelity": FIRST,
        "realism": SECOND,
        "artefacts": TIE,
        OVERALL: SECOND,
    }


def test_flex_counts_points_where_no_winner_is_named_as_numbers() -> None:
    said = flex("Image 1/2", category("realism", "", ("9", "10")), category("fidelity", None, (9, 1), (1, 9), (6, 4)))
    assert unified_reward_flex.read(ALL, said) == {
        "fidelity": FIRST,
        "realism": SECOND,
        "artefacts": None,
        OVERALL: None,
    }


@pytest.mark.parametrize(
    "answer",
    ["", "Image 1", '{"categories": [{"name": "realism", "cat_w', "[1, 2]", '{"categories": 3, "winner": null}'],
)
def test_flex_answers_that_say_nothing(answer: str) -> None:
    assert unified_reward_flex.read(ALL, answer) == dict.fromkeys(("fidelity", "realism", "artefacts", OVERALL))


def test_flex_reads_an_answer_of_the_form_it_asks_for() -> None:
    form = ALL.text.partition("```json\n")[2].partition("\n```")[0]
    found = json.loads(form)
    assert found.keys() == json.loads(flex("")[8:-4]).keys()
    found["winner"] = found["categories"][0]["cat_winner"] = "Image 2"
    found["categories"][0]["name"] = "realism"
    read = unified_reward_flex.read(ALL, json.dumps(found))
    assert (read[OVERALL], read["realism"], read["fidelity"]) == (SECOND, SECOND, None)
    assert all(name in ALL.text and about in ALL.text for name, about in FLEX.dimensions.items())


@pytest.mark.parametrize(
    ("answer", "rating"),
    [
        ("<answer>3.75</answer>", 3.75),
        ("<think>Noise, say 2.</think>\n<answer> 4 </answer>", 4.0),
        ("4.2", 4.2),
        ("<answer>good</answer>", None),
        ("<answer>85</answer>", None),
        ("<answer>0</answer>", None),
        ("", None),
    ],
)
def test_visualquality_r1(answer: str, rating: float | None) -> None:
    assert visualquality_r1.read(answer) == rating


def test_visualquality_r1_thinks_if_asked() -> None:
    texts = [
        visualquality_r1.questions(VisualQualityR1Settings(model="m", thinking=on))[0].text for on in (False, True)
    ]
    assert ["<think>" in text for text in texts] == [False, True]
