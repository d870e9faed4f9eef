"""Judges of a run: what they have to be asked, who asks, and what their answers make of a group."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from components.artifacts import paths
from components.artifacts.shards import ShardFolder
from components.artifacts.tables import Row
from components.progress import progress
from components.runtime.workers import Workers
from components.score.answers import AnswerCache, key_of
from components.score.cache import Score
from components.score.judges import JUDGES, Comparing, Judge, Rating
from components.score.judges.model import Ask, Picture
from components.score.judges.questions import FIRST, RATING, SECOND, TIE, Question
from components.score.judges.schedule import schedule
from components.score.judges.win_rates import combined, win_rates
from components.score.lr_group import LRGroup
from components.settings import JudgeSettings, PairwiseSettings, Settings, row_of

logger = logging.getLogger("dp2o.score")

NOBODY = -1
"""Winner of a tie."""


@dataclass(frozen=True)
class _Call:
    """One question about candidates at some positions, in the order in which they are shown."""

    question: Question
    positions: tuple[int, ...]

    def key(self, group: LRGroup) -> str:
        digests_of = group.image_digests
        return key_of(self.question.text, *(digests_of[position] for position in self.positions))


class OneJudge:
    """A judge of the settings, without its model until something has to be asked."""

    def __init__(self, chosen: JudgeSettings, settings: Settings, root: Path) -> None:
        self.settings = chosen
        self._root = root
        self.row: Judge = row_of(JUDGES, chosen, Judge)
        self.questions = self.row.questions(chosen)
        self.cache = AnswerCache(settings.run.cache_folder(root), self.row.digest(chosen, root))
        self._candidates, self._inputs = ShardFolder(root / paths.CANDIDATES), ShardFolder(root / paths.DATASET)

    def calls(self, group: LRGroup) -> list[_Call]:
        """All that a group takes."""
        count = len(group.candidates)
        if not isinstance(self.settings, PairwiseSettings):
            return [_Call(question, (place,)) for place in range(count) for question in self.questions]
        met = schedule(group.lr_id, count, self.settings.opponents, self.settings.seed)
        return [
            _Call(question, order) for one, other in met for order in ((one, other), (other, one))
            for question in self.questions
        ]  # fmt: skip

    def lacking(self, group: LRGroup) -> list[_Call]:
        """Those that have no answer yet."""
        known = self.cache.read(group.lr_id)
        return [call for call in self.calls(group) if call.key(group) not in known]

    def answer(self, group: LRGroup, ask: Ask) -> None:
        """Ask what is lacking; each answer is in the cache before the next question."""
        answers = self.cache.read(group.lr_id)
        for call in self.lacking(group):
            answers[call.key(group)] = ask(self._shown(group, call))
            self.cache.write(group.lr_id, answers)
        self.cache.share(group.lr_id)

    def _shown(self, group: LRGroup, call: _Call) -> list[Picture | str]:
        rows = [group.candidates[position] for position in call.positions]
        images = [self._candidates[row["shard"]].image(f"{group.lr_id}.{row['index']:03d}.png") for row in rows]
        if len(images) == 1:
            return [images[0], call.question.text]
        lr = self._inputs[group.row["shard"]].image(f"{group.lr_id}.lr.png")
        height, width = images[0].shape[:2]
        enlarged = np.asarray(Image.fromarray(lr).resize((width, height), Image.Resampling.BICUBIC))
        named = (part for place, image in enumerate(images, 1) for part in (f"Image {place}:", image))
        return ["Low-resolution input, enlarged:", enlarged, *named, call.question.text]

    def load(self, device: torch.device) -> Ask:
        """Who answers.

        Raises:
            BadInput: there is no such model here.
        """
        return self.row.load(self.settings, self._root, device)


class Judges:
    """All judges of the settings.

    Raises:
        BadInput: one has no model here, or the user brought one that cannot be used.
    """

    def __init__(self, settings: Settings, root: Path) -> None:
        self._settings = settings
        self.judges = [OneJudge(chosen, settings, root) for chosen in settings.score.judges]

    def ask(self, groups: Sequence[LRGroup], device: torch.device) -> None:
        """Have all answers for the groups in the cache; a model after the other, each loaded where it is needed."""
        for judge in self.judges:
            lacking = [group for group in groups if judge.lacking(group)]
            asked = sum(len(judge.lacking(group)) for group in lacking)
            with Workers(partial(_Asker, judge, device), self._settings, 1) as workers:
                for _ in progress(workers.each(lacking), desc=judge.settings.column, unit="LR", total=len(lacking)):
                    pass
            found = sum(len(judge.calls(group)) for group in groups) - asked
            logger.info("%s: %d answers made, %d found in the cache", judge.settings.column, asked, found)

    def of_group(self, group: LRGroup) -> tuple[dict[str, list[Score]], list[Row]]:
        """Scores `[M]` by column, and rows of data/comparisons.parquet."""
        columns: dict[str, list[Score]] = {}
        rows: list[Row] = []
        for judge in self.judges:
            answers = judge.cache.read(group.lr_id)
            told = [(call, answers[call.key(group)]) for call in judge.calls(group)]
            scores, own = _compared(judge, group, told) if isinstance(judge.row, Comparing) else _rated(judge, told)
            columns[judge.settings.column] = scores
            rows += [row | {"lr_id": group.lr_id, "judge": judge.settings.column} for row in _indexed(own, group)]
        return columns, rows


class _Asker:
    def __init__(self, judge: OneJudge, device: torch.device) -> None:
        self._judge, self._ask = judge, judge.load(device)

    def __call__(self, group: LRGroup) -> None:
        self._judge.answer(group, self._ask)


def _compared(judge: OneJudge, group: LRGroup, told: Sequence[tuple[_Call, str]]) -> tuple[list[Score], list[Row]]:
    assert isinstance(judge.row, Comparing)
    verdicts: dict[str, list[tuple[int, int, int | None]]] = {
        dimension: [] for question in judge.questions for dimension in question.dimensions
    }
    rows = []
    for call, answer in told:
        first, second = call.positions
        winners: Mapping[int | None, int | None] = {FIRST: first, SECOND: second, TIE: NOBODY}
        for dimension, verdict in judge.row.read(call.question, answer).items():
            verdicts[dimension].append((first, second, verdict))
            pair = {"a": min(first, second), "b": max(first, second), "winner": winners.get(verdict)}
            rows.append(pair | {"dimension": dimension, "order": "ab" if first < second else "ba", "answer": answer})
    rates = combined({name: win_rates(len(group.candidates), found) for name, found in verdicts.items()})
    return [Score(float(rate)) for rate in rates], rows


def _rated(judge: OneJudge, told: Sequence[tuple[_Call, str]]) -> tuple[list[Score], list[Row]]:
    assert isinstance(judge.row, Rating)
    scores, rows = [], []
    for call, answer in told:
        rating = judge.row.read(answer)
        scores.append(Score(None, "unreadable", answer[:300]) if rating is None else Score(rating))
        rows.append(
            {"a": call.positions[0], "b": None, "winner": None, "dimension": RATING, "order": "a", "answer": answer}
        )
    return scores, rows


def _indexed(rows: Sequence[Row], group: LRGroup) -> Iterator[Row]:
    """The same with candidate indexes in place of positions."""
    index: dict[int | None, int | None] = {None: None, NOBODY: NOBODY}
    index |= {position: int(row["index"]) for position, row in enumerate(group.candidates)}
    for row in rows:
        yield row | {name: index[row[name]] for name in ("a", "b", "winner")}
