"""The result of a study: what people preferred, how sure that is, and whose votes count. Pure."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import combinations
from statistics import median

from components.artifacts.documents import Section
from components.metrics.table import TABLE
from components.study.manifest import Comparison, Manifest
from components.study.ranking import Duels, ranking
from components.study.statistics import alpha, share
from components.study.votes import Vote

REWARD = "reward"


class RaterFigures(Section):
    """What one rater did.

    Attributes:
        checks, failed: attention checks that were answered, and those of them that were not passed; a tie is none.
        repeats, agreed: pairs that were answered twice, and those of them with the same answer.
        left: share of answers with a side that were the left one; None without any.
        seconds: median of the answers' time, as far as it is known.
    """

    rater: str
    votes: int
    ties: int
    checks: int
    failed: int
    repeats: int
    agreed: int
    left: float | None
    seconds: float | None
    excluded: bool


class ShareFigures(Section):
    """See `statistics.Share`."""

    mean: float | None
    low: float | None
    high: float | None
    votes: int
    raters: int
    photos: int


class PairFigures(Section):
    """How often `first` was preferred to `second`; a tie counts half."""

    first: str
    second: str
    ties: int
    win_rate: ShareFigures


class StrengthFigures(Section):
    """See `ranking.Strength`."""

    model: str
    strength: float
    low: float | None
    high: float | None


class MetricFigures(Section):
    """How often a metric prefers what a rater preferred. A metric's tie counts half, people's ties are left out."""

    metric: str
    agreement: ShareFigures


class Figures(Section):
    """What some raters said."""

    raters: int
    votes: int
    pairs: tuple[PairFigures, ...]
    alpha: float | None
    self_agreement: ShareFigures
    ranking: tuple[StrengthFigures, ...]
    no_ranking: str
    metrics: tuple[MetricFigures, ...]


class Result(Section):
    """All of it.

    Attributes:
        rule: by which raters are excluded.
        kept: figures without the excluded raters: the result.
        everyone: of all raters; the same where nobody is excluded.
    """

    study: str
    digest: str
    votes_digest: str
    confidence: float
    rule: str
    raters: tuple[RaterFigures, ...]
    kept: Figures
    everyone: Figures

    @property
    def excluded(self) -> list[str]:
        """Names of the raters whose votes do not count."""
        return [one.rater for one in self.raters if one.excluded]


def result_of(
    manifest: Manifest, votes: Sequence[Vote], votes_digest: str, *, resamples: int = 2000, confidence: float = 0.95
) -> Result:
    """The result of the standing votes."""
    raters = tuple(_rater(manifest, name, own) for name, own in sorted(_by_rater(votes).items()))
    excluded = {one.rater for one in raters if one.excluded}
    kept = [vote for vote in votes if vote.rater not in excluded]
    figures = _Figures(manifest, resamples, confidence)
    of_kept = figures(kept)
    return Result(
        study=manifest.name,
        digest=manifest.digest,
        votes_digest=votes_digest,
        confidence=confidence,
        rule=rule_of(manifest),
        raters=raters,
        kept=of_kept,
        everyone=figures(votes) if excluded else of_kept,
    )


def rule_of(manifest: Manifest) -> str:
    """The exclusion rule in words."""
    return f"a rater who fails more than {manifest.most_failed:.0%} of the attention checks is excluded"


def counting(manifest: Manifest, votes: Sequence[Vote]) -> list[Vote]:
    """Votes on pairs by raters who are not excluded: no checks, no repeats."""
    excluded = {name for name, own in _by_rater(votes).items() if _rater(manifest, name, own).excluded}
    return [vote for vote in votes if vote.kind == "pair" and vote.rater not in excluded]


def _by_rater(votes: Iterable[Vote]) -> dict[str, list[Vote]]:
    found: dict[str, list[Vote]] = defaultdict(list)
    for vote in votes:
        found[vote.rater].append(vote)
    return found


def _again(votes: Iterable[Vote]) -> list[tuple[Vote, Vote]]:
    """Each repeat with what it repeats, where both were answered."""
    listed = list(votes)
    before = {(vote.rater, vote.comparison): vote for vote in listed if vote.kind == "pair"}
    return [
        (before[vote.rater, vote.comparison], vote)
        for vote in listed
        if vote.kind == "repeat" and (vote.rater, vote.comparison) in before
    ]


def _rater(manifest: Manifest, name: str, votes: Sequence[Vote]) -> RaterFigures:
    checks = [vote for vote in votes if vote.kind == "check"]
    failed = sum(vote.first < 1.0 for vote in checks)
    again = _again(votes)
    sided = [vote.choice == "left" for vote in votes if vote.choice != "tie"]
    times = [vote.seconds for vote in votes if vote.seconds is not None]
    return RaterFigures(
        rater=name,
        votes=sum(vote.kind == "pair" for vote in votes),
        ties=sum(vote.kind == "pair" and vote.choice == "tie" for vote in votes),
        checks=len(checks),
        failed=failed,
        repeats=len(again),
        agreed=sum(one.first == other.first for one, other in again),
        left=sum(sided) / len(sided) if sided else None,
        seconds=median(times) if times else None,
        excluded=failed > manifest.most_failed * len(checks),
    )


class _Figures:
    def __init__(self, manifest: Manifest, resamples: int, confidence: float) -> None:
        self._manifest, self._by_id = manifest, manifest.by_id
        self._confidence, self._resamples = confidence, resamples

    def __call__(self, votes: Sequence[Vote]) -> Figures:
        pairs = [vote for vote in votes if vote.kind == "pair"]
        again = _again(votes)
        found = [(vote, self._by_id[vote.comparison]) for vote in pairs]
        ranked = self._ranking(found)
        return Figures(
            raters=len({vote.rater for vote in pairs}),
            votes=len(pairs),
            pairs=tuple(self._pairs(found)) if self._manifest.kind == "models" else (),
            alpha=alpha(
                [vote.first for vote in pairs], [vote.rater for vote in pairs], [vote.comparison for vote in pairs]
            ),
            self_agreement=self._share(
                [float(one.first == other.first) for one, other in again],
                [(one, self._by_id[one.comparison]) for one, _ in again],
            ),
            ranking=ranked[0],
            no_ranking=ranked[1],
            metrics=tuple(self._metrics(found)),
        )

    def _share(self, values: Sequence[float], of: Sequence[tuple[Vote, Comparison]]) -> ShareFigures:
        found = share(
            values,
            [vote.rater for vote, _ in of],
            [comparison.photo for _, comparison in of],
            resamples=self._resamples,
            confidence=self._confidence,
        )
        return ShareFigures(**asdict(found))

    def _pairs(self, found: Sequence[tuple[Vote, Comparison]]) -> Iterable[PairFigures]:
        names = [model.name for model in self._manifest.models]
        for first, second in combinations(names, 2):
            of = [(vote, one) for vote, one in found if (one.first.model, one.second.model) == (first, second)]
            ties = Counter(vote.choice for vote, _ in of)["tie"]
            yield PairFigures(
                first=first, second=second, ties=ties, win_rate=self._share([vote.first for vote, _ in of], of)
            )

    def _ranking(self, found: Sequence[tuple[Vote, Comparison]]) -> tuple[tuple[StrengthFigures, ...], str]:
        names = [model.name for model in self._manifest.models]
        if len(names) < 3:
            return (), ""
        places = {name: place for place, name in enumerate(names)}
        ranked = ranking(
            Duels(
                tuple(names),
                [places[one.first.model] for _, one in found],
                [places[one.second.model] for _, one in found],
                [vote.first for vote, _ in found],
                [vote.rater for vote, _ in found],
                [one.photo for _, one in found],
            ),
            resamples=min(self._resamples, 500),
            confidence=self._confidence,
        )
        return tuple(StrengthFigures(**asdict(one)) for one in ranked.strengths), ranked.problem

    def _metrics(self, found: Sequence[tuple[Vote, Comparison]]) -> Iterable[MetricFigures]:
        sided = [(vote, one) for vote, one in found if vote.choice != "tie"]
        known = {name for _, one in sided for name in one.first.scores.keys() & one.second.scores.keys()}
        for name in sorted(known, key=lambda name: (name != REWARD, name)):
            higher = name not in TABLE or TABLE[name].higher_is_better
            of = [(vote, one) for vote, one in sided if name in one.first.scores and name in one.second.scores]
            values = [_agrees(vote, one, name, higher) for vote, one in of]
            yield MetricFigures(metric=name, agreement=self._share(values, of))


def _agrees(vote: Vote, one: Comparison, metric: str, higher_is_better: bool) -> float:
    """1 where the metric prefers what the rater preferred, 0 where the other, 0.5 where it has no preference."""
    gap = (one.first.scores[metric] - one.second.scores[metric]) * (1.0 if higher_is_better else -1.0)
    return 0.5 if gap == 0.0 else float((gap > 0.0) == (vote.first == 1.0))
